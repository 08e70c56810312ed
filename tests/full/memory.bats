load ../helper

# peak COMMAND...: runs it and prints the most memory that it had, in MiB
peak() {
    "$PYTHON" - "$@" <<'END'
import resource, subprocess, sys
status = subprocess.call(sys.argv[1:], stdout=sys.stderr)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
sys.exit(status)
END
}

@test "a scan of 512x512x400 and a network of 16 filters: by sliding window in less than 3 GB" {
    need_python numpy nibabel
    cd "$BATS_TEST_TMPDIR"
    "$PYTHON" - <<'END'
import numpy, nibabel
random = numpy.random.default_rng(1)
scan = random.integers(0, 1000, (512, 512, 400), dtype="int16")
nibabel.save(nibabel.Nifti1Image(scan, numpy.diag([0.8, 0.8, 1.0, 1.0])), "scan.nii")
END
    dbisl-init --channels 1 --classes 1 --filters 16 --seed 1 --compress=none -o fresh.st
    "$PYTHON" "$ROOT/tests/interop/predict.py" meta fresh.st net.st 'preprocessing={"crop":"none","downsample":1,"normalize":"zscore","spacing":null}'
    export OMP_NUM_THREADS
    OMP_NUM_THREADS=$(nproc)
    run peak dbisl-predict --window 112,112,80 --stride 112,112,80 net.st scan.nii -o label.nii.gz
    echo "$output"
    [ "$status" -eq 0 ]
    [ "${lines[-1]}" -lt 3000 ]
    [ -s label.nii.gz ]
}
