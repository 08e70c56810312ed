#include "record/json.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const size_t cost_limit = (size_t)256 << 20;

/* The memory that jansson takes for each thing, with malloc's overhead: for a value with its table, for an element's
 * place in a table that is being doubled, for a member's place among the others and among the buckets. FIXED is for the
 * parser itself. */
enum { FIXED = 4096, ARRAY = 176, OBJECT = 256, STRING = 80, NUMBER = 32, ELEMENT = 32, MEMBER = 64 };

static size_t cost_of_sign(char c)
{
    switch (c) {
    case '[':
        return ARRAY;
    case '{':
        return OBJECT;
    case '"':
        return STRING;
    case ',':
        return ELEMENT;
    case ':':
        return MEMBER;
    default:
        return 0;
    }
}

/* The length of the string, number or word at the start of the text, at most `size`. */
static size_t token_length(const char *text, size_t size)
{
    size_t length = 1;
    if (*text == '"') {
        for (; length < size && text[length] != '"'; length++)
            length += text[length] == '\\';
        length++; /* the quote at the end */
    } else {
        while (length < size && text[length] && !strchr("[]{},:\" \t\n\r", text[length]))
            length++;
    }
    return length < size ? length : size;
}

size_t dbi_json_cost(const char *text, size_t size)
{
    size_t cost = FIXED, longest = 0;
    for (size_t i = 0; i < size;) {
        const char c = text[i];
        size_t length = 1;
        cost += cost_of_sign(c);
        if (!c || !strchr("[]{},: \t\n\r", c)) {
            length = token_length(text + i, size - i);
            cost += c == '"' ? length : NUMBER;
            longest = length > longest ? length : longest;
        }
        i += length;
    }
    return cost +
           3 * longest; /* the lexer's buffer holds one token at a time; this is what it takes while it is doubled */
}

static int check_cost(size_t cost, dbi_error *error)
{
    if (cost > cost_limit)
        return dbi_fail(error, "it would take more than %zu MiB of memory", cost_limit >> 20);
    return 0;
}

int dbi_json_check(const char *text, size_t size, dbi_error *error)
{
    return check_cost(dbi_json_cost(text, size), error);
}

/* When jansson gets no memory, its lexer runs past the end of its buffer. So we try first whether there is enough. */
static bool memory_is_there(size_t size)
{
    void *volatile memory = malloc(size); /* volatile: the compiler must not leave the allocation out */
    const bool there = memory;
    free(memory);
    return there;
}

json_t *dbi_json_parse(const char *text, size_t size, dbi_error *error)
{
    const size_t cost = dbi_json_cost(text, size);
    if (check_cost(cost, error))
        return NULL;
    json_error_t fault = {0};
    json_t *json =
        memory_is_there(cost) ? json_loadb(text, size, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &fault) : NULL;
    if (!json)
        dbi_fail(error, "%s", fault.text[0] ? fault.text : "out of memory");
    return json;
}

/* json_dumps is not used: when memory is short, it leaves out what does not fit. */
char *dbi_json_text(const json_t *value, size_t flags, dbi_error *error)
{
    const size_t size = json_dumpb(value, NULL, 0, flags);
    char *text = size ? malloc(size + 1) : NULL;
    if (text && json_dumpb(value, text, size, flags) == size) {
        text[size] = 0;
        return text;
    }
    free(text);
    dbi_fail(error, "a value cannot be written as JSON: out of memory?");
    return NULL;
}

json_t *dbi_json_seed(uint64_t seed)
{
    return seed <= INT64_MAX ? json_integer((json_int_t)seed) : json_sprintf("%" PRIu64, seed);
}
