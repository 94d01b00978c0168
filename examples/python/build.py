"""Builds an image and shows what happens. Usage: build.py DIRECTORY NAME."""

import sys

import transient
from transient import events


def on_event(event: events.Event) -> None:
    """Show what matters to a person."""
    match event:
        case events.StepStarted(step=step, steps=steps, instruction=instruction):
            print(f"[{step}/{steps}] {instruction}", flush=True)
        case events.Output(data=data):
            sys.stdout.buffer.write(data)
            sys.stdout.flush()
        case _:  # later releases may have more kinds
            pass


def main() -> None:
    """Build, and say where the image is."""
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} DIRECTORY NAME")
    try:
        image = transient.build(sys.argv[1], name=sys.argv[2], on_event=on_event)
    except transient.Error as error:
        sys.exit(f"error: {error}")
    print(image.path)


if __name__ == "__main__":
    main()
