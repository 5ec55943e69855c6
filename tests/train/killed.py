"""Trains a retriever and dies at its first checkpoint; by itself or as torchrun starts it.

killed.py BASE LABELLED OUTPUT SETTINGS.json [--live] -> OUTPUT/checkpoints, exit code 9; the model where it is to live
"""

import json
import os
import sys
from pathlib import Path

import sentence_transformers as st

from dowse.train import retriever
from dowse.train.recipes import changed


class Dies(retriever.StopsWhenDiverged):
    def on_save(self, args, state, control, **_):
        if state.is_world_process_zero:  # which has written all that there is; torchrun ends the others
            os._exit(9)


if __name__ == "__main__":
    base, labelled, output, settings, *live = sys.argv[1:]
    if not live:
        retriever.StopsWhenDiverged = Dies
    options = changed(retriever.RetrieverOptions(), json.loads(Path(settings).read_text()))
    model = st.SentenceTransformer(base, device="cpu")
    retriever.train_retriever(Path(labelled), model, Path(output), options)
