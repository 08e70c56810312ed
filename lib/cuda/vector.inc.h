/* Included for each type of activations: T the type, E(name) the name of what works on it, LOAD(x) and STORE(f) the
 * conversions from T and to T. 8 channels of one voxel at once; the address is aligned to their size. */

typedef struct E(eight) {
    dbi_sixteen_bytes part[DBI_GROUP * sizeof(T) / 16];
} E(eight);

DBI_HD E(eight) E(take)(const T *from)
{
    E(eight) raw;
    for (size_t i = 0; i < sizeof raw / 16; i++)
        raw.part[i] = ((const dbi_sixteen_bytes *)(const void *)from)[i];
    return raw;
}

DBI_HD void E(spread)(const E(eight) * raw, float to[DBI_GROUP])
{
    T value[DBI_GROUP];
    memcpy(value, raw, sizeof value);
    for (int i = 0; i < DBI_GROUP; i++)
        to[i] = LOAD(value[i]);
}

DBI_HD void E(load)(const T *from, float to[DBI_GROUP])
{
    const E(eight) raw = E(take)(from);
    E(spread)(&raw, to);
}

DBI_HD void E(store)(T *to, const float from[DBI_GROUP])
{
    dbi_sixteen_bytes raw[DBI_GROUP * sizeof(T) / 16];
    T value[DBI_GROUP];
    for (int i = 0; i < DBI_GROUP; i++)
        value[i] = STORE(from[i]);
    memcpy(raw, value, sizeof value);
    for (size_t i = 0; i < sizeof raw / 16; i++)
        ((dbi_sixteen_bytes *)(void *)to)[i] = raw[i];
}
