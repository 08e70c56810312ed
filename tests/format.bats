#!/usr/bin/env bats
# Tensor files against an independent implementation, both ways, and against whatever may happen to a file on its way.

load helper

setup() {
    need zstd
    need_python json
    records=$ROOT/tests/interop/records.py
    cd "$BATS_TEST_TMPDIR" || return
}

python() {
    "$PYTHON" "$records" "$@"
}

# A limit of memory for the rest of the test; false for a program under a sanitizer, which reserves more than any.
limit_memory() {
    (ulimit -v "$1" && dbisl-info --version >/dev/null 2>&1) || return
    ulimit -v "$1"
}

@test "an independent writer's records are read, however they were compressed" {
    python write plain.st 4
    zstd -q plain.st -o sized.st
    zstd -q --no-check plain.st -o unchecked.st
    zstd -q <plain.st >unsized.st
    zstd -q --long=27 -19 <plain.st >window.st
    zstd -q -T2 -B20000 --rsyncable <plain.st >threads.st
    for file in plain sized unchecked unsized window threads; do
        dbisl-info --json $file.st >lines || fail "$file"
        python match plain.st <lines || fail "$file"
        dbisl-info --json <$file.st | sed 's/"file":"[^"]*"//' >piped
        sed 's/"file":"[^"]*"//' lines | cmp - piped
    done
}

@test "pzstd's frames, which end anywhere, are read" {
    need pzstd
    python write plain.st 40
    pzstd -q -p 2 -1 -o parts.st plain.st
    dbisl-info --json parts.st | python match plain.st
}

@test "an independent reader reads what is written" {
    python write plain.st 3
    dbisl-info --split zstd. plain.st
    dbisl-info --compress=none --split none. <plain.st
    zstd -q plain.st -o packed.st
    dbisl-info --split again. packed.st
    cat zstd.000[0-2].st.zst >all.st.zst
    python same all.st.zst plain.st
    for i in 0 1 2; do
        zstd -tq zstd.000$i.st.zst
        zstd -dqc zstd.000$i.st.zst | cmp - none.000$i.safetensors
        same zstd.000$i.st.zst again.000$i.st.zst
        zstd -lv zstd.000$i.st.zst | grep -q 'Check: XXH64'
        zstd -lv zstd.000$i.st.zst | grep -q 'Number of files listed: 1\|# Zstandard Frames: 1'
    done
}

@test "the safetensors package reads and writes the same files" {
    "$PYTHON" -c 'import safetensors.numpy' 2>/dev/null || skip "$PYTHON has no module safetensors"
    python safetensors-write theirs.safetensors
    dbisl-info --json theirs.safetensors | python match theirs.safetensors
    dbisl-info --split ours. theirs.safetensors
    zstd -dq ours.0000.st.zst -o ours.safetensors
    python safetensors-read ours.safetensors
}

@test "files one after another are one stream" {
    python write plain.st 2
    dbisl-info --split a. plain.st
    cat a.0000.st.zst a.0001.st.zst >both.st.zst
    python same both.st.zst plain.st
    dbisl-info --json both.st.zst | python match plain.st
    dbisl-info --compress=none --split b. both.st.zst
    cat b.0000.safetensors a.0001.st.zst >mixed.st
    dbisl-info --json mixed.st | python match plain.st
    zstd -q <both.st.zst >twice.st.zst
    expect_fault 'record 0: .*not a tensor file' dbisl-info twice.st.zst
}

@test "skippable frames are skipped" {
    python write plain.st 2
    dbisl-info --split a. plain.st
    printf '\x51\x2a\x4d\x18\x05\0\0\0hello' >skip
    cat skip a.0000.st.zst skip skip a.0001.st.zst skip >stream.st.zst
    dbisl-info --json stream.st.zst | python match plain.st
    expect_fault 'empty' dbisl-info skip
}

@test "a record is there as soon as its last byte is" {
    python write plain.st 3
    dbisl-info --split a. plain.st
    for way in a.0000.st.zst plain.st; do
        coproc info { dbisl-info --json; }
        local in=${info[1]} out=${info[0]} process=$! line
        cat $way >&"$in"
        read -r -t 20 line <&"$out"
        [[ $line == *'"record":0'* ]]
        cat $way >&"$in"
        read -r -t 20 line <&"$out"
        [[ $line == *'"record":1'* ]]
        exec {in}>&- {out}<&-
        wait "$process" || true
    done
}

@test "a file cut at every fiftieth of its length is an error" {
    python write plain.st 1
    zstd -q plain.st -o sized.st
    for file in plain sized; do
        size=$(stat -c %s $file.st)
        for ((part = 0; part < 50; part++)); do
            head -c $((size * part / 50)) $file.st >cut.st
            expect_fault 'cut.st: (the file is empty|record 0: )' dbisl-info cut.st -o out
        done
    done
    absent out .out.part
}

@test "flipped bits of a compressed file are found or change nothing" {
    python write plain.st 1
    zstd -q plain.st -o good.st
    dbisl-info --json good.st | sed 's/good.st//' >wanted
    size=$(stat -c %s good.st)
    for ((flip = 0; flip < 120; flip++)); do
        at=$((flip < 40 ? flip : flip * 7919 % size))
        cp good.st flip.st
        byte=$(od -An -tu1 -j $at -N 1 good.st)
        printf %b "\\x$(printf %x $((byte ^ (1 << flip % 8))))" | dd of=flip.st bs=1 seek=$at conv=notrunc status=none
        if dbisl-info --json flip.st >lines 2>err; then
            sed 's/flip.st//' lines | cmp - wanted || fail "bit $((flip % 8)) of byte $at went unnoticed"
        else
            [ "$(wc -l <err)" -eq 1 ]
        fi
    done
}

@test "hostile headers are refused in one line and in little memory" {
    mkdir bad
    python hostile bad
    [ "$(find bad -name "*.st" | wc -l)" -gt 25 ]
    limit_memory 700000 || true
    for file in bad/*.st; do
        expect_fault "$file: record [01]: " timeout 20 dbisl-info "$file" -o out
        zstd -qf "$file" -o packed.st
        expect_fault "packed.st: record [01]: " timeout 20 dbisl-info packed.st -o out
    done
    absent out .out.part
}

@test "frames that claim terabytes are refused in little memory" {
    printf '\x28\xb5\x2f\xfd\xe0\0\0\0\0\0\1\0\0\1\0\0' >content.st
    printf '\x28\xb5\x2f\xfd\xc0\xff\0\0\0\0\0\1\0\0\1\0\0' >window.st
    limit_memory 700000 || true
    expect_fault 'content.st: record 0: zstd' dbisl-info content.st
    expect_fault 'window.st: record 0: zstd' dbisl-info window.st
}

@test "a bomb of zeros ends in an error where memory ends" {
    {
        header='{"t":{"dtype":"U8","shape":[2000000000],"data_offsets":[0,2000000000]}}'
        printf '%b%s' "\\x$(printf %x ${#header})\\0\\0\\0\\0\\0\\0\\0" "$header"
        head -c 2000000000 /dev/zero
    } | zstd -q -1 >bomb.st
    limit_memory 700000 || skip "the program needs more address space for itself"
    expect_fault 'bomb.st: record 0: tensor "t": out of memory' dbisl-info bomb.st
}

@test "a few kilobytes of brackets that would be gigabytes in memory are refused in little" {
    "$PYTHON" -c 'import struct, sys
text = b"{\"t\":[" + b"{}," * 33000000 + b"0]}"
sys.stdout.buffer.write(struct.pack("<Q", len(text)) + text)' | zstd -q >brackets.st
    [ "$(stat -c %s brackets.st)" -lt 20000 ]
    limit_memory 700000 || true
    expect_fault 'brackets.st: record 0: .*would take more than 256 MiB' dbisl-info brackets.st
}

@test "other files are refused" {
    printf 'P5 128 128 255 and so on and on' >picture.pgm
    expect_fault 'picture.pgm: record 0: not a tensor file' dbisl-info picture.pgm
    : >empty.st
    expect_fault 'empty.st: the file is empty$' dbisl-info empty.st
    expect_fault 'missing.st: No such file or directory$' dbisl-info missing.st
    expect_fault 'Is a directory' dbisl-info .
    expect_fault 'standard input: the file is empty' dbisl-info </dev/null
    printf '\x28\xb5\x2f\xfd' >magic.st
    expect_fault 'magic.st: record 0' dbisl-info magic.st
}

@test "a disk that fills up leaves no file and spoils none" {
    python write plain.st 1
    tmpfs full 64k
    head -c 30000 /dev/urandom >full/ballast
    echo old >full/out.0000.safetensors
    expect_fault 'full/out.0000.safetensors: No space left on device' dbisl-info --compress=none --split full/out. plain.st
    [ "$(cat full/out.0000.safetensors)" = old ]
    [ "$(find full -type f | wc -l)" -eq 2 ]
    bash -c 'dbisl-info --json plain.st >/dev/full' 2>err && fail "no error"
    grep -q '^dbisl-info: standard output: No space left on device$' err
}

@test "a closed pipe is death by SIGPIPE" {
    python write plain.st 300
    set +e +o pipefail
    dbisl-info --json plain.st 2>err | head -n 1 >/dev/null
    status=${PIPESTATUS[0]}
    set -e
    [ "$status" -eq 141 ]
    [ ! -s err ]
}
