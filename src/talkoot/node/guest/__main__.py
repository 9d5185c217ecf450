"""`python -S -m talkoot.node.guest REQUEST_FD ANSWER_FD RUNTIME`: started by the launcher, in the cell."""

import sys

from talkoot.node.guest.worker import main

if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
