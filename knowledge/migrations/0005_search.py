import django.db.models.deletion
import pgvector.django.sparsevec
from django.db import migrations, models

# Whoever deletes a passage by SQL takes this row with it; Django's own constraint would make them name the table.
FOLLOW_PASSAGE = """
ALTER TABLE knowledge_entrylexical ADD CONSTRAINT entrylexical_passage FOREIGN KEY (passage_id)
    REFERENCES knowledge_passage (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE knowledge_entrylexical ALTER COLUMN bm SET STORAGE MAIN;
"""
# Entries that were indexed before have no row yet; search takes the passage's own score for them until the pack is reweighed.


class Migration(migrations.Migration):
    dependencies = [
        ("knowledge", "0004_imports"),
    ]

    operations = [
        migrations.CreateModel(
            name="EntryLexical",
            fields=[
                (
                    "passage",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="knowledge.passage",
                    ),
                ),
                (
                    "revision",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="knowledge.entryrevision"
                    ),
                ),
                (
                    "pack",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="knowledge.knowledgepack"
                    ),
                ),
                ("bm", pgvector.django.sparsevec.SparseVectorField(dimensions=536870912)),
            ],
        ),
        migrations.AddField(
            model_name="knowledgepack",
            name="weighted_entry_avgdl",
            field=models.FloatField(default=0.0, editable=False),
        ),
        migrations.AddIndex(
            model_name="entry",
            index=models.Index(
                condition=models.Q(("language", ""), _negated=True), fields=["pack", "language"], name="entry_language"
            ),
        ),
        migrations.RunSQL(FOLLOW_PASSAGE, migrations.RunSQL.noop),
    ]
