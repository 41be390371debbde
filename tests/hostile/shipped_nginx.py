"""nginx with the configuration that Belfry ships, on a port of this machine."""

from __future__ import annotations

from tests.servers import HOST, REPOSITORY, Nginx

_SHIPPED = REPOSITORY / "deploy" / "nginx.conf"


class ShippedNginx(Nginx):
    """`deploy/nginx.conf` with only what a test must change: addresses, folders, and one process."""

    def __init__(self, upstream_port: int) -> None:
        super().__init__(upstream_port)
        (self.directory / "mime.types").write_text("types { text/html html; }\n")
        folders = "".join(
            [f"    {name}_temp_path {self.directory}/{name};\n" for name in ("proxy", "fastcgi", "uwsgi", "scgi")]
        )
        text = _SHIPPED.read_text(encoding="utf-8")
        for shipped, tested in {
            "worker_processes auto;": f"daemon off;\nmaster_process off;\npid {self.directory}/pid;",
            "worker_rlimit_nofile 65536;": "",
            "worker_connections 32768;": "worker_connections 512;",
            "http {\n": f"http {{\n    client_body_temp_path {self.directory}/body;\n{folders}",
            "/dev/stdout": str(self.directory / "access.log"),
            "/dev/stderr": str(self.log_path),
            "server belfry:8000;": f"server {HOST}:{upstream_port};",
            "listen 8080;": f"listen {HOST}:{self.port};",
        }.items():
            assert shipped in text, f"deploy/nginx.conf has no {shipped!r} any more"
            text = text.replace(shipped, tested)
        self._config_path.write_text(text)
