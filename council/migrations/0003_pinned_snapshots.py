"""Councils pin snapshots: the table that joins sessions and packs becomes a model of its own and gets a column."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("council", "0001_initial"), ("knowledge", "0002_packs_complete")]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.CreateModel(
                    name="SessionPack",
                    fields=[
                        ("id", models.BigAutoField(primary_key=True, serialize=False)),
                        (
                            "councilsession",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.CASCADE,
                                related_name="pack_pins",
                                to="council.councilsession",
                            ),
                        ),
                        (
                            "knowledgepack",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.CASCADE,
                                related_name="+",
                                to="knowledge.knowledgepack",
                            ),
                        ),
                    ],
                    options={
                        "db_table": "council_councilsession_packs",
                        "unique_together": {("councilsession", "knowledgepack")},
                    },
                ),
                migrations.AlterField(
                    model_name="councilsession",
                    name="packs",
                    field=models.ManyToManyField(
                        blank=True,
                        related_name="council_sessions",
                        through="council.SessionPack",
                        to="knowledge.knowledgepack",
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="sessionpack",
            name="snapshot",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.RESTRICT,
                related_name="+",
                to="knowledge.snapshot",
            ),
        ),
    ]
