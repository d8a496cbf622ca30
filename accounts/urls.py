from django.contrib.auth.views import LogoutView

from accounts import views
from accounts.api.urls import route

app_name = "accounts"
urlpatterns = [
    *route("login", views.SignIn, "login"),
    *route("logout", LogoutView, "logout"),
    *route("keys", views.keys, "keys"),
    *route("keys/<uuid:key_id>/revoke", views.revoke_key, "revoke_key"),
    *route("keys/<uuid:key_id>/rotate", views.rotate_key, "rotate_key"),
]
