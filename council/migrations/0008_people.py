"""Seats that are people's, and the gate before the synthesis."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("council", "0007_citation_similarity"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="round",
            name="round_stage_known",
        ),
        migrations.RemoveConstraint(
            model_name="turn",
            name="turn_kind_known",
        ),
        migrations.AddField(
            model_name="round",
            name="sealed",
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name="turn",
            name="human",
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name="turn",
            name="person",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="turn",
            name="seen_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AlterField(
            model_name="round",
            name="stage",
            field=models.CharField(
                choices=[
                    ("opening", "opening"),
                    ("attack", "attack"),
                    ("debate", "debate"),
                    ("ballot", "ballot"),
                    ("tally", "tally"),
                    ("gate", "gate"),
                    ("synthesis", "synthesis"),
                    ("ratify", "ratify"),
                ],
                max_length=16,
            ),
        ),
        migrations.AlterField(
            model_name="turn",
            name="kind",
            field=models.CharField(
                choices=[
                    ("answer", "answer"),
                    ("ballot", "ballot"),
                    ("tally", "tally"),
                    ("synthesis", "synthesis"),
                    ("dissent", "dissent"),
                    ("attack", "attack"),
                    ("ratify", "ratify"),
                    ("gate", "gate"),
                ],
                max_length=16,
            ),
        ),
        migrations.AddConstraint(
            model_name="round",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("stage__in", ["opening", "attack", "debate", "ballot", "tally", "gate", "synthesis", "ratify"])
                ),
                name="round_stage_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="turn",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("kind__in", ["answer", "ballot", "tally", "synthesis", "dissent", "attack", "ratify", "gate"])
                ),
                name="turn_kind_known",
            ),
        ),
    ]
