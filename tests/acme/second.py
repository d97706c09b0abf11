"""Runs acme2certifier, an authority that other people have written, with a root of its own.

usage: second.py --dir FOLDER --listen ADDRESS PORT [--dns ADDRESS]

With the Python of an environment into which `pip install acme2certifier==0.46.3` has been done (`cargo xtask setup` does
not). It validates on ports 80 and 443, and asks a name server on port 53, so a test of it needs root. FOLDER gets api.pem
and root.pem as that of ca.py. Prints a line of JSON with the URL of its directory when it is ready, and ends when its
standard input does.
"""

import argparse
import json
import os
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import ca  # noqa: E402 (makes the certificates)
from cryptography.hazmat.primitives import serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402

CONFIG = """
[DEFAULT]
debug: True
[Nonce]
nonce_check_disable: False
[CAhandler]
handler_module: acme2certifier.cahandlers.openssl_ca_handler
issuing_ca_key: {folder}/intermediate.key
issuing_ca_cert: {folder}/intermediate.pem
issuing_ca_crl: {folder}/crl.pem
cert_save_path: {folder}/issued
ca_cert_chain_list: ["{folder}/intermediate.pem", "{folder}/root.pem"]
cert_validity_days: 30
[DBhandler]
handler: wsgi
dbfile: {folder}/acme.db
[Certificate]
revocation_reason_check_disable: False
[Challenge]
{dns}
[Order]
tnauthlist_support: False
"""


def write(path, certificates, key=None):
    with open(path, "wb") as file:
        file.write(b"".join(one.public_bytes(ca.PEM) for one in certificates))
        if key is not None:
            kind = serialization.PrivateFormat.PKCS8
            file.write(key.private_bytes(ca.PEM, kind, serialization.NoEncryption()))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dir", required=True)
    parser.add_argument("--listen", nargs=2, required=True)
    parser.add_argument("--dns")
    options = parser.parse_args()
    folder = os.path.abspath(options.dir)
    path = lambda name: os.path.join(folder, name)
    os.makedirs(path("issued"), exist_ok=True)
    api, issuer, key = ca.Issuer("API Root"), ca.Issuer("Second Root"), ec.generate_private_key(ec.SECP256R1())
    now = time.time()
    own = ca.certificate(None, key.public_key(), api.names[2], api.keys[2], now - 60, now + ca.DAY, False, [options.listen[0]])
    write(path("api.pem"), [api.root])
    write(path("root.pem"), [issuer.root])
    write(path("intermediate.pem"), [issuer.first])
    write(path("intermediate.key"), [], issuer.keys[2])
    write(path("server.pem"), [own, api.first])
    write(path("server.key"), [], key)
    with open(path("acme_srv.cfg"), "w") as file:
        file.write(CONFIG.format(folder=folder, dns=f'dns_server_list: ["{options.dns}"]' if options.dns else ""))
    os.environ["ACME_SRV_CONFIGFILE"] = path("acme_srv.cfg")
    os.environ["ACME2CERTIFIER_BASE_DIR"] = folder

    from acme2certifier.share import acme2certifier_wsgi
    from werkzeug.serving import make_server

    server = make_server(options.listen[0], int(options.listen[1]), acme2certifier_wsgi.application, threaded=True,
                         ssl_context=(path("server.pem"), path("server.key")))  # fmt: skip
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"directory": f"https://{':'.join(options.listen)}/directory"}), flush=True)
    sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
