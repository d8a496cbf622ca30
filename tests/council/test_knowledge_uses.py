"""What a council leaves behind in the packs that it read: its searches, and which entries its decision cites."""

from __future__ import annotations

import pytest
from django.conf import LazySettings

from accounts.models import User
from council.models import Citation
from knowledge import services
from knowledge.models import EntryRevision, EntryUse, SearchLog
from knowledge.quality import log
from tests.support.councils import Convene, conclude

pytestmark = pytest.mark.django_db(transaction=True)

TEXT = (
    "Tabs or spaces is a question of habit. Tabs are narrower in the file, and every reader chooses how wide they look."
)


def test_searches_are_logged_and_verified_citations_counted(
    user: User, convene: Convene, settings: LazySettings
) -> None:
    settings.SEARCH_LOG = True
    pack = services.create_pack(user, name="Style")
    services.add_entries(pack, user, [{"title": "Tabs or spaces", "content": TEXT}])
    session = conclude(user, convene(packs=[pack.pk]))
    assert session.status == "completed"
    assert log.flush(10)
    assert set(SearchLog.objects.values_list("pack", "origin")) == {(pack.pk, "council")}
    assert not SearchLog.objects.exclude(user=None).exists()
    verified = Citation.objects.filter(decision__run__session=session, status="verified").values("revision_id")
    entries = EntryRevision.objects.filter(pk__in=verified).values_list("entry", flat=True)
    assert set(entries) == set(EntryUse.objects.filter(cited=1).values_list("entry", flat=True))
    assert set(entries) == {pack.entries.get().pk}
    assert EntryUse.objects.get().retrieved == SearchLog.objects.count()
