#!/bin/sh
# The part of test-wheel.sh that runs inside.
set -eu
cd /test

for program in cc gcc cargo mke2fs mkfs.xfs sfdisk; do
    ! command -v "$program" || { echo "error: $program is here, this would prove little" >&2; exit 1; }
done
if ls /boot/vmlinuz* /lib/modules/* 2> /dev/null; then
    echo "error: a kernel is here, this would prove little" >&2
    exit 1
fi

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check --no-index ./*.whl
PATH=/test/venv/bin:$PATH

transient --version
python -m transient --version
transient appliance show | head -n 4

python - << END
import transient

output = []
def listen(event):
    if isinstance(event, transient.events.Output):
        output.append(event.data)
image = transient.build("build", name="by-python", accelerator="tcg", on_event=listen)
print(image)
assert b"".join(output).startswith(b"built on Linux"), output
assert [image.name for image in transient.images()] == ["by-python"]
END

mkdir layered
cat > layered/Imagefile << END
FROM by-python
RUN echo "hello from \$(uname)"
END
transient image build layered --name by-command --accel tcg | tee output
grep -q '^hello from Linux$' output
transient image ls
for name in by-python by-command; do
    qemu-img check -f qcow2 "$HOME/.local/share/transient/backend/$(printf %s "$name" | sed 's/-/%2D/g')"
done

# Ctrl-C ends the command as it does the native one.
cat > layered/Imagefile << END
FROM by-python
RUN sleep 1000
END
python - << END
import signal
import subprocess

command = ["transient", "image", "build", "layered", "--name", "interrupted", "--accel", "tcg"]
build = subprocess.Popen(command, stdout=subprocess.PIPE)
for line in build.stdout:
    if b"sleep 1000" in line:
        build.send_signal(signal.SIGINT)
        break
assert build.wait(60) == 130
END
! transient image ls | grep interrupted
