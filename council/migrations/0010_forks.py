"""Forks and reconsiderations say what they come from; a seat replies to a question that is put to it alone."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("council", "0009_tools"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="turn",
            name="turn_kind_known",
        ),
        migrations.AddField(
            model_name="councilsession",
            name="excluded_entries",
            field=models.JSONField(blank=True, default=list),
        ),
        migrations.AddField(
            model_name="councilsession",
            name="forked_from",
            field=models.JSONField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="message",
            name="seat",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.CASCADE, related_name="questions", to="council.seat"
            ),
        ),
        migrations.AddField(
            model_name="message",
            name="turn",
            field=models.OneToOneField(
                null=True, on_delete=django.db.models.deletion.CASCADE, related_name="question", to="council.turn"
            ),
        ),
        migrations.AddField(
            model_name="run",
            name="origin",
            field=models.JSONField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="turn",
            name="copied_from",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="council.turn",
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
                    ("reply", "reply"),
                ],
                max_length=16,
            ),
        ),
        migrations.AddIndex(
            model_name="turn",
            index=models.Index(
                condition=models.Q(("copied_from__isnull", False)), fields=["copied_from"], name="turn_copied_from"
            ),
        ),
        migrations.AddConstraint(
            model_name="turn",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "kind__in",
                        ["answer", "ballot", "tally", "synthesis", "dissent", "attack", "ratify", "gate", "reply"],
                    )
                ),
                name="turn_kind_known",
            ),
        ),
    ]
