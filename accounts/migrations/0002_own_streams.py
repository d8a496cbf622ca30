import django.core.serializers.json
import django.db.models.deletion
import pgtrigger.compiler
import pgtrigger.migrations
from django.conf import settings
from django.db import migrations, models

# Of those who are here already; the trigger sees to those who come.
STREAMS = """
    INSERT INTO accounts_userstream (id, last_seq, read_up_to) SELECT id, 0, 0 FROM accounts_user ON CONFLICT DO NOTHING
"""


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="UserStream",
            fields=[
                ("last_seq", models.BigIntegerField(default=0, editable=False)),
                (
                    "user",
                    models.OneToOneField(
                        db_column="id",
                        editable=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="stream",
                        serialize=False,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("read_up_to", models.BigIntegerField(default=0, editable=False)),
            ],
            options={"abstract": False},
        ),
        migrations.CreateModel(
            name="UserEvent",
            fields=[
                ("seq", models.BigIntegerField(editable=False)),
                ("type", models.CharField(editable=False, max_length=64)),
                (
                    "payload",
                    models.JSONField(
                        default=dict, editable=False, encoder=django.core.serializers.json.DjangoJSONEncoder
                    ),
                ),
                ("created_at", models.DateTimeField(editable=False)),
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "stream_id", "seq", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "stream",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="events",
                        to="accounts.userstream",
                    ),
                ),
            ],
            options={"abstract": False},
        ),
        pgtrigger.migrations.AddTrigger(
            model_name="user",
            trigger=pgtrigger.compiler.Trigger(
                name="user_has_stream",
                sql=pgtrigger.compiler.UpsertTriggerSql(
                    func="INSERT INTO accounts_userstream (id, last_seq, read_up_to) VALUES (NEW.id, 0, 0); RETURN NULL;",
                    hash="302e110243b8a93206b9aaf5901128155c9bc7b7",
                    operation="INSERT",
                    pgid="pgtrigger_user_has_stream_7d7ea",
                    table="accounts_user",
                    when="AFTER",
                ),
            ),
        ),
        migrations.RunSQL(STREAMS, migrations.RunSQL.noop),
    ]
