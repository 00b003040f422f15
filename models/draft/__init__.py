"""The draft of a pack for a file of one's own. Needs no PyTorch."""

from models.draft.write import Draft, draft_pack

__all__ = ["Draft", "draft_pack"]
