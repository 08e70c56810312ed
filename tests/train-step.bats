load helper
bats_require_minimum_version 1.5.0

# One small cohort, first weights and a few batches for all tests of this file.
setup_file() {
    cd "$BATS_FILE_TMPDIR" || return
    dbisl-phantom --train 3 --test 0 --size 32 --seed 3 -o scans
    local id
    for id in phantom_001 phantom_002 phantom_003; do
        dbisl-preprocess --id "$id" --label "scans/labelsTr/$id.nii.gz" "scans/imagesTr/$id.nii.gz" -o - |
            dbisl-sdf --normalize clip:10 - -o "$id.st.zst"
    done
    dbisl-split --order given --labeled 1 phantom_00?.st.zst -o split.tsv
    dbisl-init --norm batch --filters 2 --seed 1 -o s.0
    dbisl-init --from s.0 -o t.0
    dbisl-init --norm batch --filters 3 --seed 1 -o other.0
    batches --count 3 -o both.st
    batches --count 3 --truth -o truth.st
    dbisl-sample --split split.tsv --patch 16,16,16 --labeled 2 --unlabeled 0 --seed 1 --start 0 --count 3 --compress=none -o labeled.st
}

batches() {
    dbisl-sample --split split.tsv --patch 16,16,16 --labeled 1 --unlabeled 2 --seed 1 --start 0 --compress=none "$@"
}

setup() {
    cd "$BATS_FILE_TMPDIR" || return
    out=$BATS_TEST_TMPDIR/out
    mkdir "$out"
}

# step BATCHES OPTION...: three steps of dbisl unless the options say otherwise; outputs in $out
step() {
    local batches=$1
    shift
    dbisl-train-step --total-steps 10 --steps 3 --seed 1 --student s.0 --teacher t.0 --ema 0.9 --out-student "$out/s" --out-teacher "$out/t" \
        --log "$out/log" "$@" "$batches"
}

nothing_made() {
    [ -z "$(ls -A "$out")" ] || fail "left behind: $(ls -A "$out")"
}

# edit ACTION OUT ARGUMENT...: the batches with something changed
edit() {
    local action=$1
    shift
    "$PYTHON" "$ROOT/tests/interop/predict.py" "$action" both.st "$@"
}

@test "student and teacher know the size of the last patches, and predict takes windows of it" {
    step both.st
    local which size
    for which in s t; do
        [ "$(dbisl-info --json "$out/$which" | "$PYTHON" -c 'import json, sys; print(json.load(sys.stdin)["metadata"]["patch"])')" = "[16,16,16]" ]
        for size in 16 32; do
            dbisl-predict --window "$size" --output prob "$out/$which" phantom_002.st.zst -o "$out/$size"
        done
        dbisl-predict --output prob "$out/$which" phantom_002.st.zst -o "$out/default"
        cmp "$out/16" "$out/default"
        ! cmp -s "$out/32" "$out/default" || fail "one pass is no different: the test shows nothing"
    done
}

@test "every preset trains; the log has a row per step and a column per term" {
    local method
    for method in supervised dtc; do
        dbisl-train-step --method "$method" --total-steps 10 --steps 3 --student s.0 --out-student "$out/s" --log "$out/log" both.st
        [ "$(wc -l <"$out/log")" -eq 4 ]
    done
    for method in mean-teacher ua-mt dbisl; do
        step both.st --method "$method"
        awk -F'\t' 'NR == 1 { n = NF; if ($4 $5 $NF != "totalsegweighted-dice") exit 1 }
            NF != n || (NR > 1 && $1 != NR - 2) { exit 1 } END { exit NR != 4 }' "$out/log"
    done
}

@test "two decoders: every preset trains them, and a run in two pieces gives the same bytes" {
    local method
    dbisl-init --norm batch --filters 1 --decoders 2 --seed 1 -o "$out/s0"
    dbisl-init --from "$out/s0" -o "$out/t0"
    for method in supervised dtc; do
        dbisl-train-step --method "$method" --total-steps 10 --steps 3 --student "$out/s0" --out-student "$out/s" --log "$out/log" both.st
        [ "$(wc -l <"$out/log")" -eq 4 ]
    done
    for method in mean-teacher ua-mt dbisl; do
        step both.st --method "$method" --student "$out/s0" --teacher "$out/t0"
        [ "$(wc -l <"$out/log")" -eq 4 ]
    done
    dbisl-sample --split split.tsv --patch 16,16,16 --labeled 1 --unlabeled 2 --seed 1 --start 0 --count 2 -o "$out/first.st"
    step "$out/first.st" --steps 2 --student "$out/s0" --teacher "$out/t0" --out-student "$out/s2" --out-teacher "$out/t2"
    dbisl-sample --split split.tsv --patch 16,16,16 --labeled 1 --unlabeled 2 --seed 1 --start 2 --count 1 -o "$out/last.st"
    step "$out/last.st" --steps 1 --student "$out/s2" --teacher "$out/t2" --out-student "$out/s3" --out-teacher "$out/t3"
    same "$out/s" "$out/s3"
    same "$out/t" "$out/t3"
}

@test "the log's total is the weighted sum of its terms" {
    step both.st --beta 0.5
    # dbisl: every weight 1 but the teacher's; regression terms times beta, unsupervised ones times the ramp
    awk -F'\t' 'NR == 1 { for (i = 5; i <= NF - 3; i++) name[i] = $i }
        NR > 1 {
        sum = 0
        for (i in name)
            sum += $i * (name[i] ~ /reg/ && name[i] !~ /consistency/ ? 0.5 : 1) * (name[i] ~ /consistency|pseudo|teacher/ ? $3 : 1)
        if ((sum - $4)^2 > 1e-12 * $4^2) { print sum, $4; exit 1 }
    }' "$out/log"
}

@test "the teacher's output is the average that dbisl-ema computes, and the student does not depend on who averages" {
    dbisl-sample --split split.tsv --patch 16,16,16 --labeled 1 --unlabeled 2 --seed 1 --start 0 --count 1 --compress=none >"$out/one.st"
    step "$out/one.st" --steps 1
    dbisl-train-step --total-steps 10 --steps 1 --seed 1 --student s.0 --teacher t.0 --out-student "$out/s1" --log "$out/log1" "$out/one.st"
    dbisl-ema --decay 0.9 t.0 "$out/s1" -o "$out/t1"
    same "$out/s" "$out/s1"
    same "$out/t" "$out/t1"
    same "$out/log" "$out/log1"
}

@test "batches made in place: the same bytes as from dbisl-sample, in one run or two" {
    local make=(--split split.tsv --patch "16,16,16" --labeled 1 --unlabeled 2) options=(--no-flip --flip-z --no-rotate --intensity 0.1 --noise 0.05 --truth)
    batches --count 3 "${options[@]}" -o "$out/augmented"
    step "$out/augmented"
    in_place() {
        dbisl-train-step --total-steps 10 --seed 1 --ema 0.9 "${make[@]}" "${options[@]}" "$@"
    }
    in_place --cache-mb 0 --ahead 1 --steps 3 --student s.0 --teacher t.0 --out-student "$out/s.3" --out-teacher "$out/t.3" --log "$out/log.3"
    same "$out/s" "$out/s.3"
    same "$out/t" "$out/t.3"
    same "$out/log" "$out/log.3"
    in_place --steps 1 --student s.0 --teacher t.0 --out-student "$out/s.1" --out-teacher "$out/t.1"
    in_place --steps 2 --student "$out/s.1" --teacher "$out/t.1" --out-student "$out/s.2" --out-teacher "$out/t.2"
    same "$out/s" "$out/s.2"
    same "$out/t" "$out/t.2"
}

@test "batches made in place: what is wrong with them" {
    local step=(dbisl-train-step --total-steps 10 --steps 2 --student s.0 --teacher t.0 --out-student "$out/s")
    expect_usage "${step[@]}" --patch 16,16,16
    expect_usage "${step[@]}" --split split.tsv
    expect_usage "${step[@]}" --split split.tsv --patch 16,16,16 both.st
    expect_usage "${step[@]}" --split split.tsv --patch 16,16,16 --labeled 0 --unlabeled 0
    expect_fault 'nothing: No such file' "${step[@]}" --split nothing --patch 16,16,16
    expect_fault 'split.tsv: batch 0: a patch: size 16x16x15: the network takes multiples of 16' "${step[@]}" --split split.tsv --patch 16,16,15 --labeled 1
    head -c 1000 phantom_002.st.zst >"$out/torn.st.zst"
    sed "s,phantom_002.st.zst,$out/torn.st.zst," split.tsv >"$out/split.tsv"
    sed "s,^phantom,$PWD/phantom," -i "$out/split.tsv"
    expect_fault 'torn.st.zst' "${step[@]}" --split "$out/split.tsv" --patch 16,16,16 --labeled 1
    rm "$out/torn.st.zst" "$out/split.tsv"
    nothing_made
}

@test "the true labels of unlabelled samples change the log's last two columns and nothing else" {
    need_python numpy
    local method
    for method in dbisl ua-mt; do
        mkdir -p "$out/none" "$out/scrambled"
        step both.st --method $method --out-student "$out/none/s" --out-teacher "$out/none/t" --log "$out/none/log"
        step truth.st --method $method
        "$PYTHON" "$ROOT/tests/interop/predict.py" spoil truth.st "$out/changed.st" truth 1
        step "$out/changed.st" --method $method --out-student "$out/scrambled/s" --out-teacher "$out/scrambled/t" --log "$out/scrambled/log"
        for other in none scrambled; do
            same "$out/s" "$out/$other/s"
            same "$out/t" "$out/$other/t"
            same <(rev "$out/log" | cut -f3- | rev) <(rev "$out/$other/log" | cut -f3- | rev)
            run ! cmp -s "$out/log" "$out/$other/log"
        done
        # both are shares, and empty where there is no truth
        awk -F'\t' 'NR > 1 && !($(NF - 1) > 0 && $(NF - 1) <= 1 && $NF > 0 && $NF <= 1) { exit 1 }' "$out/log"
        awk -F'\t' 'NR > 1 && $(NF - 1) $NF != "" { exit 1 }' "$out/none/log"
    done
}

@test "with all voxels alike the weighted Dice is the plain one, and otherwise not" {
    step truth.st --without uncertainty
    awk -F'\t' 'NR > 1 && $(NF - 1) != $NF { exit 1 }' "$out/log"
    step truth.st
    awk -F'\t' 'NR > 1 && $(NF - 1) != $NF { found = 1 } END { exit !found }' "$out/log"
}

@test "normalization by instance and by group: equal bytes in one run or two; small patches have no statistics" {
    local norm
    dbisl-sample --split split.tsv --patch 32,32,16 --labeled 1 --unlabeled 2 --seed 1 --start 0 --count 3 -o "$out/batches"
    dbisl-info --split "$out/batch" "$out/batches"
    for norm in instance group:2; do
        dbisl-init --filters 2 --seed 1 --norm "$norm" -o "$out/s.0"
        dbisl-train-step --total-steps 10 --steps 3 --seed 1 --student "$out/s.0" --teacher "$out/s.0" --ema 0.9 --out-student "$out/s.3" \
            --out-teacher "$out/t.3" "$out/batches"
        dbisl-train-step --total-steps 10 --steps 1 --seed 1 --student "$out/s.0" --teacher "$out/s.0" --ema 0.9 --out-student "$out/s.1" \
            --out-teacher "$out/t.1" "$out/batch0000.st.zst"
        cat "$out/batch0001.st.zst" "$out/batch0002.st.zst" |
            dbisl-train-step --total-steps 10 --steps 2 --seed 1 --student "$out/s.1" --teacher "$out/t.1" --ema 0.9 --out-student "$out/s.both" \
                --out-teacher "$out/t.both"
        cmp "$out/s.both" "$out/s.3"
        cmp "$out/t.both" "$out/t.3"
        dbisl-predict --window 32 --output prob "$out/s.3" phantom_002.st.zst -o "$out/p"
    done
    dbisl-init --filters 2 --norm instance -o "$out/i.0"
    expect_fault "larger patch" dbisl-train-step --method supervised --total-steps 10 --steps 3 --student "$out/i.0" --out-student "$out/never" labeled.st
    expect_fault "teacher's architecture" dbisl-train-step --total-steps 10 --steps 3 --student "$out/i.0" --teacher t.0 --ema 0.9 --out-student "$out/never" \
        --out-teacher "$out/neither" both.st
    expect_fault "larger patch or window" dbisl-predict --window 16 --output prob "$out/i.0" phantom_002.st.zst -o "$out/never"
    absent "$out/never"
}

@test "dropout and noise come from the seed" {
    step both.st
    cp "$out/s" "$out/first"
    step both.st
    same "$out/s" "$out/first"
    step both.st --seed 2
    run ! cmp -s "$out/s" "$out/first"
}

@test "a component that is switched off is the same as its weights at 0" {
    step both.st --without cross
    cp "$out/log" "$out/log1"
    step both.st --weight cross-seg=0 --weight cross-reg=0
    same "$out/log" "$out/log1"
    # without its only term that needs one, mean-teacher takes no teacher
    expect_usage step both.st --without pseudo --method mean-teacher
}

@test "--explain is JSON, and options change the preset wherever --method stands" {
    dbisl-train-step --explain --total-steps 5 --lr 0.5 --meth dtc >"$out/a"
    dbisl-train-step --explain --total-steps 5 --method=dtc --lr=0.5 >"$out/b"
    same "$out/a" "$out/b"
    grep -q '"k": 1500' "$out/a" && grep -q '"lr": 0.5' "$out/a" && grep -q '"sdf-normalize": "max"' "$out/a"
    need_python json
    "$PYTHON" -m json.tool "$out/a" >/dev/null
    expect 0 dbisl-train-step --explain --method=dtc --lr=0.5
    [ "$output" = "$(grep -v total-steps "$out/a")" ] || fail "$output"
}

@test "every preset is in --help and in the manual page" {
    local name names
    expect 2 dbisl-train-step --method foo
    names=$(sed -n 's/.*"foo": choose //p' <<<"$stderr" | sed 's/,\| or / /g')
    [ "$(wc -w <<<"$names")" -ge 5 ]
    for name in $names; do
        expect 0 dbisl-train-step --explain --method "$name"
        [[ $output == *"\"method\": \"$name\""* ]] || fail "$output"
        dbisl-train-step --help | tr -d '\n' | grep -qE -- "--method=NAME[^-]* .*\b$name\b.*--passes" || fail "--help lacks $name"
        grep -qx "\.It Cm $name" "$ROOT/man/dbisl-train-step.1" || fail "the manual page lacks $name"
    done
}

@test "--explain says which terms are in use, and the loss as a formula" {
    expect 0 dbisl-train-step --explain --total-steps 5 --method dtc --weight reg=0.5
    grep -qF '"loss": "seg(p, Y) + 0.5 beta reg(r, R) + lambda mean (p - T_r2s(r))^2"' <<<"$output"
    [ "$(grep -c '^    "' <<<"$output")" -eq 3 ] # weights
}

@test "one decoder: no setting, column or formula tells of two, and their terms are refused by name" {
    expect 0 dbisl-train-step --explain --student s.0
    ! grep -qE 'exchange|decoders|delta|other' <<<"$output" || fail "$output"
    step both.st
    ! head -n 1 "$out/log" | grep -qE 'exchange|decoders' || fail "a column of two decoders"
    step both.st --without exchange --without decoders
    expect_fault 's.0: exchange-seg is a term between two decoders, the network has one' step both.st --weight exchange-seg=1
    expect_fault 'decoders-reg is a term between two decoders' dbisl-train-step --explain --weight decoders-reg=0.5
    step both.st --weight exchange-seg=1 --without exchange
}

# two BATCHES OPTION...: as step, with a network of two decoders
two() {
    [ -e two.0 ] || dbisl-init --norm batch --filters 2 --seed 1 --decoders 2 -o two.0
    local batches=$1
    shift
    step "$batches" --student two.0 --teacher two.0 "$@"
}

@test "two decoders: the log's total is the weighted sum of its terms" {
    local method
    for method in mean-teacher ua-mt dbisl; do
        two both.st --method "$method" --weight decoders-seg=1 --weight decoders-reg=1 --beta 0.5
        awk -F'\t' 'NR == 1 { for (i = 5; i <= NF - 3; i++) name[i] = $i }
            NR > 1 {
            sum = 0
            for (i in name) {
                found += name[i] ~ /decoders/ && $i > 0
                beta = name[i] ~ /reg/ && name[i] !~ /consistency|decoders/ ? 0.5 : 1
                sum += $i * beta * (name[i] ~ /consistency|pseudo|teacher|decoders|exchange/ ? $3 : 1)
            }
            if ((sum - $4)^2 > 1e-12 * $4^2) { print sum, $4; exit 1 }
        } END { exit found != 6 }' "$out/log"
    done
}

@test "two decoders: their settings, and a teacher that has two as well" {
    two both.st
    dbisl-train-step --explain --student two.0 | grep -qF 'lambda seg(p, y~_other) + lambda beta reg(r, r~_other)'
    dbisl-train-step --explain --student two.0 --weight decoders-seg=0.5 | grep -qF '+ 0.5 lambda mean (p_1 - p_2)^2'
    two both.st --without exchange
    cp "$out/log" "$out/log1"
    two both.st --weight exchange-seg=0 --weight exchange-reg=0
    same "$out/log" "$out/log1"
    expect_fault "teacher's architecture" two both.st --teacher t.0
}

@test "the voxel weight knows disagreement in distance, as a setting of its own" {
    step both.st
    cp "$out/s" "$out/first"
    step both.st --delta 0
    same "$out/s" "$out/first"
    step both.st --delta 2
    run ! cmp -s "$out/s" "$out/first"
    dbisl-train-step --explain --delta 2 | grep -q '"delta": 2'
}

@test "the manual page has a row for every term of the log" {
    step both.st
    head -n 1 "$out/log" | tr '\t' '\n' | sed -n '/^total$/,/^voxel-weight$/p' | sed '1d;$d' >"$out/logged"
    sed -n '/^\.Sh TERMS/,/^\.El/s/^\.It \([a-z-]*\) Ta.*/\1/p' "$ROOT/man/dbisl-train-step.1" >"$out/documented"
    same "$out/logged" "$out/documented"
    # with two decoders the second list as well
    two both.st
    head -n 1 "$out/log" | tr '\t' '\n' | sed -n '/^total$/,/^voxel-weight$/p' | sed '1d;$d' >"$out/logged"
    sed -n '/^\.Sh TERMS/,/^\.Sh METHODS/s/^\.It \([a-z-]*\) Ta.*/\1/p' "$ROOT/man/dbisl-train-step.1" >"$out/documented"
    same "$out/logged" "$out/documented"
}

@test "terms that are off are not in the history, and a checkpoint that has them in it goes on in the same entry" {
    need_python numpy
    local one=(--total-steps 10 --steps 1 --method mean-teacher --teacher t.0)
    batches --count 1 -o "$out/0.st"
    dbisl-sample --split split.tsv --patch 16,16,16 --labeled 1 --unlabeled 2 --seed 1 --start 1 --count 1 --compress=none -o "$out/1.st"
    dbisl-train-step "${one[@]}" --ema 0.9 --student s.0 --out-student "$out/s1" --out-teacher "$out/t1" "$out/0.st"
    dbisl-info --json "$out/s1" >"$out/history"
    local old
    old=$("$PYTHON" -c 'import json, sys
history = json.loads(json.load(sys.stdin)["metadata"]["history"])
assert sorted(history[-1]["settings"]["weights"]) == ["reg", "seg", "teacher"], history
history[-1]["settings"]["weights"].update({"cross-seg": 0.0, "pseudo-reg": 0.0})
print(json.dumps(history, separators=(",", ":")))' <"$out/history")
    "$PYTHON" "$ROOT/tests/interop/predict.py" meta "$out/s1" "$out/old" "history=$old"
    one+=(--teacher "$out/t1")
    dbisl-train-step "${one[@]}" --student "$out/s1" --out-student "$out/s2" "$out/1.st"
    dbisl-train-step "${one[@]}" --student "$out/old" --out-student "$out/old2" "$out/1.st"
    same "$out/s2" "$out/old2"
    # A weight that is not 0 is another setting.
    "$PYTHON" "$ROOT/tests/interop/predict.py" meta "$out/s1" "$out/old" "history=${old/'"cross-seg":0.0'/'"cross-seg":0.5'}"
    dbisl-train-step "${one[@]}" --student "$out/old" --out-student "$out/old2" "$out/1.st"
    run ! cmp -s "$out/s2" "$out/old2"
}

@test "a checkpoint may be written over the one it came from" {
    cp s.0 "$out/s"
    dbisl-train-step --method supervised --total-steps 10 --steps 3 --student "$out/s" --out-student "$out/s" labeled.st
    dbisl-info "$out/s" | grep -q '^ *step *3$'
}

@test "wrong usage" {
    local s=(--student s.0 --out-student "$out/s")
    expect_usage dbisl-train-step
    expect_usage dbisl-train-step --total-steps 10 --steps 3 --student s.0
    expect_usage dbisl-train-step --method supervised --steps 3 "${s[@]}"
    expect_usage dbisl-train-step --method nonsense --total-steps 10 --steps 3 "${s[@]}"
    expect_usage dbisl-train-step --method dbisl --total-steps 10 --steps 3 "${s[@]}"
    expect_usage dbisl-train-step --method dtc --total-steps 10 --steps 3 "${s[@]}" --teacher t.0
    expect_usage dbisl-train-step --total-steps 10 --steps 3 "${s[@]}" --teacher t.0 --ema 0.9
    expect_usage dbisl-train-step --total-steps 10 --steps 3 "${s[@]}" --teacher t.0 --out-teacher "$out/t"
    local option
    for option in --steps=0 --total-steps=-1 --ema=2 --weight=seg --weight=nothing=1 --weight=seg=-1 --without=everything --seg-loss=ce --lr=x --lr=-1 \
        --lr=nan --schedule=sometimes --ramp=120% --ramp=-1 --k=0 --delta=-1 --transform=cube --transform=conv:0,3 --sdf-normalize=none --sdf-normalize=clip:0 \
        --dropout=1 --threads=0 --seed=-1 --device=tpu --compress=lzma --nonsense; do
        expect_usage step both.st "$option"
    done
    expect_usage step both.st both.st
    nothing_made
}

@test "fewer or more batches than steps" {
    expect_fault 'both.st: the batches ended after 3 of 4 steps' step both.st --steps 4
    expect_fault 'both.st: record 2: more than the 2 batches' step both.st --steps 2
    expect_fault 'standard input' step - --steps 1 </dev/null
    nothing_made
}

@test "a sample process that dies leaves no checkpoint behind" {
    set +o pipefail
    expect 1 bash -c "dbisl-sample --split split.tsv --patch 16,16,16 --labeled 1 --unlabeled 2 --seed 1 --start 0 --count 3 --compress=none |
        head -c 200000 | dbisl-train-step --total-steps 10 --steps 3 --student s.0 --teacher t.0 --ema 0.9 --out-student $out/s --out-teacher $out/t --log $out/log"
    nothing_made
}

@test "batches that do not belong to the checkpoint" {
    need_python numpy
    edit meta "$out/x.st" step=1
    expect_fault 'x.st: record 0: a batch of step 1, but the student.s next is 0' step "$out/x.st"
    edit meta "$out/x.st" kind=case
    expect_fault 'x.st: record 0: not a batch' step "$out/x.st"
    edit meta "$out/x.st" labeled=4
    expect_fault 'x.st: record 0: 4 labelled samples in a batch of 3' step "$out/x.st"
    edit drop "$out/x.st" label
    expect_fault 'x.st: record 0: no tensor "label"' step "$out/x.st"
    edit drop "$out/x.st" sdf
    expect_fault 'x.st: record 0: no tensor "sdf"' step "$out/x.st"
    edit spoil "$out/x.st" label 2
    expect_fault 'x.st: record 0: tensor "label" has the value 2, but there are 1 classes' step "$out/x.st"
    edit spoil "$out/x.st" image nan
    expect_fault 'x.st: record 0: .*not finite' step "$out/x.st"
    rm "$out/x.st"
    dbisl-init --norm batch --channels 2 --filters 2 -o two.0
    expect_fault 'both.st: record 0: tensor "image" has shape' step both.st --student two.0 --teacher two.0
    nothing_made
    # the first batch tells the checkpoint how scans are prepared, the next ones must agree
    dbisl-train-step --method supervised --total-steps 10 --steps 3 --student s.0 --out-student "$out/s" labeled.st
    dbisl-sample --split split.tsv --patch 16,16,16 --labeled 2 --unlabeled 0 --seed 1 --start 3 --count 1 --compress=none >"$out/four.st"
    "$PYTHON" "$ROOT/tests/interop/predict.py" meta "$out/four.st" "$out/x.st" 'preprocessing={"crop":"none"}'
    expect_fault 'x.st: record 0: preprocessing is .*, the checkpoint.s is' dbisl-train-step --method supervised --total-steps 10 --steps 1 --student "$out/s" \
        --out-student "$out/s4" "$out/x.st"
    absent "$out/s4"
}

@test "distances of another normalization" {
    expect_fault 'record 0: the distances are normalized by clip:10, not by clip:5' step both.st --sdf-normalize clip:5
    nothing_made
    step both.st --sdf-normalize max
}

@test "checkpoints of another architecture or step, torn or missing" {
    expect_fault 'the teacher.s architecture' step both.st --teacher other.0
    step both.st
    expect_fault 'the teacher is at step 3' step both.st --teacher "$out/t" --out-teacher "$out/t2" --out-student "$out/s2"
    expect_fault 'would pass the 10' step both.st --steps 11
    expect_fault 'nowhere' step both.st --student nowhere
    head -c 5000 s.0 >"$out/torn"
    expect_fault 'torn' step both.st --student "$out/torn"
    expect_fault 'both.st' step both.st --student both.st
    head -c 100000 both.st >"$out/torn.st"
    expect_fault 'torn.st: record' step "$out/torn.st"
    absent "$out/s2" "$out/t2"
}

@test "a full disk leaves nothing of the three outputs" {
    tmpfs "$out/disk" 400k
    expect_fault 'No space left' step both.st --out-student "$out/disk/s" --out-teacher "$out/disk/t" --log "$out/disk/log"
    [ -z "$(ls -A "$out/disk")" ] || fail "left behind: $(ls -A "$out/disk")"
}

@test "when the log cannot get its name, student and teacher do not get theirs" {
    mkfifo "$BATS_TEST_TMPDIR/batches"
    echo old >"$out/s"
    step "$BATS_TEST_TMPDIR/batches" 2>"$BATS_TEST_TMPDIR/error" &
    local program=$!
    until [ -e "$out/.log.part" ]; do sleep 0.05; done
    mkdir "$out/log"
    cat both.st >"$BATS_TEST_TMPDIR/batches"
    ! wait "$program" || fail "no failure"
    [ "$(cat "$BATS_TEST_TMPDIR/error")" = "dbisl-train-step: $out/log: Is a directory" ]
    [ "$(cat "$out/s")" = old ]
    rm "$out/s"
    rmdir "$out/log"
    nothing_made
}
