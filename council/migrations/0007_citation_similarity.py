"""Citations keep the similarity that was measured when they were checked, and name the snapshot that the session pinned."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("council", "0006_model_profiles_and_budgets")]

    operations = [
        migrations.AddField(model_name="citation", name="similarity", field=models.FloatField(null=True)),
        migrations.AddField(model_name="citation", name="snapshot", field=models.UUIDField(null=True)),
        migrations.AddField(
            model_name="citation", name="snapshot_label", field=models.CharField(blank=True, max_length=60)
        ),
    ]
