"""How good a pack is and where it needs care: golden questions, evaluations, what people searched for, what to review next."""
