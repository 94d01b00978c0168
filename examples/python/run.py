"""Runs a command in a VM of an image, and shows its output. Usage: run.py IMAGE COMMAND..."""

import sys

import transient


def main() -> None:
    """Start the VM, run the command, and end as it does."""
    if len(sys.argv) < 3:
        sys.exit(f"usage: {sys.argv[0]} IMAGE COMMAND...")
    image, *command = sys.argv[1:]
    try:
        with transient.run(image, ssh=True, memory="512MiB") as vm, vm.ssh_stream(command) as output:
            for stream, data in output:
                shown = sys.stdout if stream == "stdout" else sys.stderr
                shown.buffer.write(data)
                shown.flush()
    except transient.Error as error:
        sys.exit(f"error: {error}")
    sys.exit(output.returncode)


if __name__ == "__main__":
    main()
