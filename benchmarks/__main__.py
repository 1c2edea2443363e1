"""Both comparisons in a short form: `python -m benchmarks`. Times hold; scores need full length."""

from benchmarks import demo_against_open_clip, train_step

if __name__ == "__main__":
    train_step.main(["--rounds", "4", "--steps", "5"])
    demo_against_open_clip.main(["--seeds", "0", "--steps", "100"])
