#include "image/fence.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static const size_t most_memory = (size_t)512 << 20;

/* What the child sends before the reply. */
typedef struct answer {
    int result;
    size_t size;
    dbi_error error;
} answer;

/* The address space in use; 0 when /proc does not tell. */
static size_t memory_in_use(void)
{
    char text[64] = "";
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    return n > 0 ? strtoull(text, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE) : 0;
}

static void limit(int what, size_t value)
{
    struct rlimit now;
    if (!getrlimit(what, &now) && value < now.rlim_cur) {
        now.rlim_cur = value;
        setrlimit(what, &now);
    }
}

/* Confines the child: every signal ends it at once, it prints nothing, leaves no core and does not outlive its
 * parent. */
static void confine(int out, unsigned seconds)
{
    for (int s = 1; s < NSIG; s++)
        signal(s, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    for (int fd = STDOUT_FILENO; null >= 0 && fd <= STDERR_FILENO; fd++)
        if (fd != out) /* it is the pipe when the program was started with closed descriptors */
            dup2(null, fd);
    size_t used = memory_in_use();
    if (used)
        limit(RLIMIT_AS, used + most_memory);
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_CPU, seconds);
    alarm(3 * seconds);
}

static bool send_all(int fd, const void *data, size_t size)
{
    for (const char *at = data; size;) {
        ssize_t n = write(fd, at, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += n;
        size -= (size_t)n;
    }
    return true;
}

static bool receive_all(int fd, void *data, size_t size)
{
    for (char *at = data; size;) {
        ssize_t n = read(fd, at, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += n;
        size -= (size_t)n;
    }
    return true;
}

static _Noreturn void child(dbi_fenced *work, const void *input, unsigned seconds, int out)
{
    answer a = {0};
    uint8_t *reply = NULL;
    confine(out, seconds);
    a.result = work(input, &reply, &a.size, &a.error);
    if (a.result)
        a.size = 0;
    bool sent = send_all(out, &a, sizeof a) && send_all(out, reply, a.size);
    _exit(!sent);
}

/* Receives the child's answer, a failure too. False when the child ended before it had sent all of it. */
static bool receive(int in, size_t most, answer *a, uint8_t **reply)
{
    if (!receive_all(in, a, sizeof *a))
        return false;
    a->error.text[sizeof a->error.text - 1] = 0;
    if (a->result)
        return true;
    *reply = a->size <= most ? malloc(a->size + 1) : NULL;
    return *reply && receive_all(in, *reply, a->size);
}

static int report_end(int status, dbi_error *error)
{
    int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    if (signal == SIGXCPU || signal == SIGALRM)
        return dbi_fail(error, "it takes too long to find out what is in the file: damaged?");
    if (signal)
        return dbi_fail(error, "the library that reads such files crashed (%s): the file is damaged",
                        sigdescr_np(signal));
    return dbi_fail(error,
                    "the library that reads such files failed: the file is damaged, or there is too little memory");
}

int dbi_fence(dbi_fenced *work, const void *input, unsigned seconds, size_t most, uint8_t **reply, size_t *size,
              dbi_error *error)
{
    int ends[2], status = 0;
    if (pipe2(ends, O_CLOEXEC))
        return dbi_fail_errno(error, "no pipe");
    pid_t pid = fork();
    if (pid == 0)
        child(work, input, seconds, ends[1]);
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return dbi_fail_errno(error, "no process to read the file in");
    }
    answer a = {0};
    *reply = NULL;
    bool whole = receive(ends[0], most, &a, reply);
    close(ends[0]);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (whole && !a.result) {
        *size = a.size;
        return 0;
    }
    free(*reply);
    *reply = NULL;
    return whole ? dbi_fail(error, "%s", a.error.text) : report_end(status, error);
}
