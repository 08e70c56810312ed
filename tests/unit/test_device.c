/* What is true of every device, on tables made for it: what a device leaves out is refused in words, and no device is
 * asked for what the network does not take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "device/net.h"
#include "device/trainer.h"

static dbi_layout layout;
static dbi_method method;
static dbi_error error;
static int asked; /* calls that a table got */

static void *open_net(const dbi_device *device, const dbi_net_shape *shape, dbi_error *why)
{
    (void)device, (void)shape, (void)why;
    asked++;
    return &asked;
}

static void close_net(void *net)
{
    assert_ptr_equal(net, &asked);
}

static size_t bytes_of_net(const dbi_device *device, const dbi_net_shape *shape)
{
    (void)device;
    asked++;
    return (size_t)(shape->batch * shape->size[0]);
}

static int forward(void *net, dbi_weights_f32 *weights, const dbi_pass *pass, const float *image, float *logits,
                   float *sdf, dbi_error *why)
{
    (void)net, (void)weights, (void)pass, (void)image, (void)logits, (void)sdf, (void)why;
    asked++;
    return 0;
}

static int backward(void *net, const dbi_weights_f32 *weights, const float *dlogits, const float *dsdf, float *gradient,
                    dbi_error *why)
{
    (void)net, (void)weights, (void)dlogits, (void)dsdf, (void)gradient, (void)why;
    asked++;
    return 0;
}

static const dbi_device_table empty = {.name = "empty"};
static const dbi_device_table counting = {.name = "counting",
                                          .net_open = open_net,
                                          .net_close = close_net,
                                          .net_bytes = bytes_of_net,
                                          .net_forward = forward,
                                          .net_backward = backward};

static int set_up(void **state)
{
    (void)state;
    asked = 0;
    return dbi_layout_make(&(dbi_arch){.channels = 1, .classes = 1, .filters = 2}, &layout, &error) ||
           dbi_method_preset("dbisl", &method, &error);
}

static void test_what_a_device_lacks(void **state)
{
    (void)state;
    const dbi_device device = {.table = &empty};
    const int64_t size[] = {32, 32, 32};
    const dbi_training training = {&method, 10, 1, &layout, {2, 1, 1, {32, 32, 32}, 1}};
    assert_null(dbi_net_open(&device, &layout, 1, size, false, &error));
    assert_string_equal(error.text, "the device empty has no network");
    assert_true(dbi_net_bytes(&device, &layout, 1, size, false) == SIZE_MAX);
    assert_null(dbi_trainer_open(&device, &training, &error));
    assert_string_equal(error.text, "the device empty does not train");
}

static void test_shapes_are_checked_before_a_device_is_asked(void **state)
{
    (void)state;
    const dbi_device device = {.table = &counting};
    const int64_t good[] = {32, 16, 48}, odd[] = {32, 17, 48}, huge[] = {INT64_C(1) << 40, 1 << 20, 1 << 20};
    assert_null(dbi_net_open(&device, &layout, 1, odd, false, &error));
    assert_non_null(strstr(error.text, "multiples of 16"));
    assert_null(dbi_net_open(&device, &layout, 0, good, false, &error));
    assert_null(dbi_net_open(&device, &layout, 1, huge, false, &error));
    assert_true(dbi_net_bytes(&device, &layout, 1, odd, false) == SIZE_MAX);
    assert_int_equal(asked, 0);
    assert_int_equal(dbi_net_bytes(&device, &layout, 3, good, false), 96);
}

static void test_passes_are_checked_before_a_device_is_asked(void **state)
{
    (void)state;
    const dbi_device device = {.table = &counting};
    const int64_t least[] = {16, 16, 16};
    float x;
    for (int training = 0; training < 2; training++) {
        dbi_net *net = dbi_net_open(&device, &layout, 1, least, training, &error);
        assert_non_null(net);
        const int opened = asked;
        /* One voxel at the lowest level has no variance. */
        assert_int_equal(
            dbi_net_forward(net, NULL, &(dbi_pass){.statistics = DBI_BATCH_STATISTICS}, &x, &x, &x, &error), -1);
        assert_int_equal(dbi_net_forward(net, NULL, &(dbi_pass){.dropout = 1}, &x, &x, &x, &error), -1);
        assert_int_equal(dbi_net_backward(net, NULL, &x, &x, &x, &error), -1);
        assert_int_equal(asked, opened);
        assert_int_equal(dbi_net_forward(net, NULL, &(dbi_pass){.keep = training}, &x, &x, &x, &error), 0);
        assert_int_equal(dbi_net_backward(net, NULL, &x, &x, &x, &error), training ? 0 : -1);
        assert_int_equal(dbi_net_backward(net, NULL, &x, &x, &x, &error), -1); /* once */
        assert_int_equal(asked, opened + 1 + training);
        dbi_net_close(net);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_what_a_device_lacks, set_up),
        cmocka_unit_test_setup(test_shapes_are_checked_before_a_device_is_asked, set_up),
        cmocka_unit_test_setup(test_passes_are_checked_before_a_device_is_asked, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
