/* Texts of errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/error.h"

static void names_to_choose_from(void **state)
{
    (void)state;
    dbi_error error;
    char longest[400];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    assert_int_equal(dbi_fail_choose(&error, "z", (const char *const[]){"a", NULL}), -1);
    assert_string_equal(error.text, "\"z\": choose a");
    dbi_fail_choose(&error, "", (const char *const[]){"a", "b", NULL});
    assert_string_equal(error.text, "\"\": choose a or b");
    dbi_fail_choose(&error, "z", (const char *const[]){"a", "b", "c", NULL});
    assert_string_equal(error.text, "\"z\": choose a, b or c");
    dbi_fail_choose(&error, longest, (const char *const[]){longest, longest, longest, NULL});
    assert_in_range(strlen(error.text), 500, sizeof error.text - 1);
    assert_int_equal(dbi_fail_choose(NULL, "z", (const char *const[]){"a", NULL}), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(names_to_choose_from)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
