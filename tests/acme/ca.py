"""A model of an ACME authority, in which nothing is of the server's own code.

usage: ca.py --dir FOLDER [--port N] [--http-port N] [--tls-port N] [--address A] [--map NAME=ADDRESS]... [--trust]
             [--seed N] [--no-limits]

RFC 8555 (ACME), 8737 (TLS-ALPN-01), 8738 (IP addresses), 9773 (ARI) and draft-ietf-acme-profiles. It is stricter than an
authority has to be: what it lets through, no authority refuses. It keeps the limits that Let's Encrypt publishes, answers
a breach with 429 and remembers it.

Time is virtual: a request's `X-Virtual-Time: SECONDS` since 1970 is the model's time while it is answered and until the
next one says another. Without that field time is the machine's.

When ready it prints one line of JSON: `directory` (a URL), `port` of HTTPS, `plain`. The plain port is the same authority
without TLS (URLs still say https, so a test may leave TLS out), and has `/control`, see `control`. FOLDER gets api.pem
(the root of its own server), root.pem and alternate.pem (roots of what it issues). It ends when its standard input does.

Validation is real unless `--trust` is given: names are looked up in the map, else they are at `--address`.
"""

import argparse
import base64
import calendar
import collections
import copy
import datetime
import email.utils
import hashlib
import hmac
import ipaddress
import json
import os
import random
import re
import socket
import ssl
import sys
import threading
import time
import traceback

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

DAY, HOUR = 86400, 3600
ACME = "urn:ietf:params:acme:error:"
PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER
# The published limits (letsencrypt.org/docs/rate-limits, read in 2026): how many in how many seconds. The authority
# fills buckets slowly; a count in a sliding window is stricter than that.
LIMITS = {
    "new-orders": (300, 3 * HOUR),
    "registered-domain": (50, 7 * DAY),
    "same-names": (5, 7 * DAY),
    "failed-validations": (5, HOUR),
    "new-accounts": (10, 3 * HOUR),
}
# Requests within one second, by endpoint; of those that are not named together.
REQUESTS = {"dir": 40, "new-nonce": 20, "new-account": 5, "new-order": 300, "revoke-cert": 10, "renewal-info": 1000}
OTHER_REQUESTS = 250
SETTINGS = {
    "profiles": {
        "classic": {"lifetime": 90 * DAY, "ip": True},
        "tlsserver": {"lifetime": 45 * DAY, "ip": False},
        "shortlived": {"lifetime": 160 * HOUR, "ip": True},
    },
    "default_profile": "classic",
    "authz_lifetime": 30 * DAY,  # of a valid one, which later orders of the account use again
    "order_lifetime": 7 * DAY,
    "order_reuse": False,  # a second order for the same names is the first one, where that is open (as Let's Encrypt)
    "processing": 0,  # seconds that an order is `processing`
    "validating": 0,  # seconds that a challenge is
    "poll_retry_after": None,
    "ari": True,
    "ari_window": None,  # "now", or [start, end], for every certificate
    "ari_retry_after": 6 * HOUR,
    "reflect_replaces": True,
    "nonce_rejection": 0.0,
    "delay": 0.0,  # seconds before each answer, of the machine's clock
    "down": [],  # [from, to] in the model's time: the connection is closed without an answer, or 503
    "down_status": 503,  # None: the connection is closed
    "problems": [],  # {"endpoint", "type", "detail", "status", "retry_after", "date", "count", "subproblems"}
    "garbage": [],  # {"endpoint", "mode", "count"}, see `spoil`
    "issue": [],  # {"mode", "count"}, see `issue`
    "fail": {},  # identifier: {"type", "detail", "count"}
    "order_invalid": 0,  # this number of orders becomes invalid after they are finalized
    "chain_length": 2,
    "alternate": False,
    "eab": {},  # kid: key in base64url
    "eab_required": False,
    "challenges": ["http-01", "tls-alpn-01", "dns-01"],
    "perspectives": 1,  # connections for one validation
    "txt": {},  # name: [value, ...], what the DNS has
}


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    if not isinstance(text, str) or not re.fullmatch(r"[A-Za-z0-9_-]*", text):
        raise Problem("malformed", f"not base64url without padding: {text!r}")
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if b64(data) != text:
        raise Problem("malformed", "base64url with bits that are not zero behind its end")
    return data


def rfc3339(seconds):
    return datetime.datetime.fromtimestamp(int(seconds), datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def date(seconds):
    # Without a time zone: older versions of the library know no other dates.
    return datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=int(seconds))


class Problem(Exception):
    def __init__(self, kind, detail, status=400, headers=(), **members):
        super().__init__(detail)
        self.document = {"type": kind if ":" in kind else ACME + kind, "detail": detail, "status": status, **members}
        self.status, self.headers = status, list(headers)


class Answer:
    def __init__(self, status, document=None, headers=(), body=None, kind="application/json"):
        self.status, self.headers, self.document = status, list(headers), document
        self.body = json.dumps(document).encode() if body is None and document is not None else body or b""
        self.kind = kind


class Closed(Exception):
    """The connection is closed without an answer."""


# --- Certificates of its own ---------------------------------------------------------------------------------------------


def certificate(subject, key, issuer, issuer_key, begin, end, is_ca, names=(), usage=()):
    name = lambda text: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)] if text else [])
    key_id = x509.SubjectKeyIdentifier.from_public_key
    build = x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(issuer)).public_key(key)
    build = build.serial_number(x509.random_serial_number()).not_valid_before(date(begin)).not_valid_after(date(end))
    build = build.add_extension(x509.BasicConstraints(is_ca, None), True).add_extension(key_id(key), False)
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    build = build.add_extension(issuer_id, False)
    signs = isinstance(key, rsa.RSAPublicKey)
    usages = dict.fromkeys(["content_commitment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"], False)
    usages |= {"digital_signature": True, "key_cert_sign": is_ca, "crl_sign": is_ca, "key_encipherment": signs and not is_ca}
    build = build.add_extension(x509.KeyUsage(**usages), True)
    if not is_ca:
        build = build.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
        # RFC 5280 §4.2.1.6: critical, since the subject is empty.
        build = build.add_extension(x509.SubjectAlternativeName([general(text) for text in names]), not subject)
    return build.sign(issuer_key, hashes.SHA256())


def general(text):
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


class Issuer:
    """Root, intermediate, and a second intermediate for longer chains. They are valid for longer than any test lasts."""

    def __init__(self, root):
        begin, end = calendar.timegm((2020, 1, 1, 0, 0, 0)), calendar.timegm((2070, 1, 1, 0, 0, 0))
        new = lambda: ec.generate_private_key(ec.SECP256R1())
        keys = [new() for _ in range(5)]
        make = lambda subject, key, issuer, by: certificate(subject, key.public_key(), issuer, by, begin, end, True)
        self.root = make(root, keys[0], root, keys[0])
        other = root + " (alternate)"
        self.alternate_root = make(other, keys[1], other, keys[1])
        self.first = make("Model Intermediate 1", keys[2], root, keys[0])
        self.second = make("Model Intermediate 2", keys[3], "Model Intermediate 1", keys[2])
        # The same names and keys, certified by the other root.
        self.first_alternate = make("Model Intermediate 1", keys[2], other, keys[1])
        self.keys = {2: keys[2], 3: keys[3]}
        self.names = {2: "Model Intermediate 1", 3: "Model Intermediate 2"}

    def chain(self, length, alternate):
        first = self.first_alternate if alternate else self.first
        return [first] if length == 2 else [self.second, first]


# --- JWS -----------------------------------------------------------------------------------------------------------------


def json_object(data, what):
    try:
        value = json.loads(data)
    except ValueError:
        raise Problem("malformed", f"{what} is not JSON") from None
    if not isinstance(value, dict):
        raise Problem("malformed", f"{what} is no object")
    return value


def public_key(jwk):
    """Returns the key and its thumbprint (RFC 7638)."""
    if not isinstance(jwk, dict):
        raise Problem("badPublicKey", "the JWK is no object")
    if "d" in jwk:
        raise Problem("badPublicKey", "the JWK has the private key")
    if jwk.get("kty") == "EC" and jwk.get("crv") == "P-256":
        members = ["crv", "kty", "x", "y"]
        x, y = unb64(jwk.get("x")), unb64(jwk.get("y"))
        if len(x) != 32 or len(y) != 32:
            raise Problem("badPublicKey", "a coordinate has not 32 bytes")
        try:
            key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + x + y)
        except ValueError:
            raise Problem("badPublicKey", "not a point of the curve") from None
    elif jwk.get("kty") == "RSA":
        members = ["e", "kty", "n"]
        numbers = [int.from_bytes(unb64(jwk.get(name)), "big") for name in ("e", "n")]
        if numbers[1].bit_length() < 2048:
            raise Problem("badPublicKey", "fewer than 2048 bits")
        key = rsa.RSAPublicNumbers(*numbers).public_key()
    else:
        raise Problem("badPublicKey", "neither P-256 nor RSA")
    canonical = json.dumps({name: jwk[name] for name in members}, separators=(",", ":"), sort_keys=True)
    return key, b64(hashlib.sha256(canonical.encode()).digest())


def parse_jws(value, what="the body"):
    """Returns the protected header, the payload and what is signed, not verified yet."""
    if set(value) != {"protected", "payload", "signature"}:
        raise Problem("malformed", f"{what} is no flattened JWS with protected, payload and signature alone")
    header = json_object(unb64(value["protected"]), "the protected header")
    payload, signature = unb64(value["payload"]), unb64(value["signature"])
    return header, payload, signature, f"{value['protected']}.{value['payload']}".encode()


def verify(key, header, signature, signed):
    is_ec = isinstance(key, ec.EllipticCurvePublicKey)
    if header.get("alg") != ("ES256" if is_ec else "RS256"):
        raise Problem("badSignatureAlgorithm", f"{header.get('alg')!r} with this key", algorithms=["ES256", "RS256"])
    try:
        if not is_ec:
            return key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
        if len(signature) != 64:
            raise Problem("malformed", f"an ES256 signature of {len(signature)} bytes")
        r, s = (int.from_bytes(part, "big") for part in (signature[:32], signature[32:]))
        key.verify(utils.encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise Problem("malformed", "the signature is wrong") from None


# --- The authority -------------------------------------------------------------------------------------------------------


class Authority:
    def __init__(self, options):
        self.options, self.lock = options, threading.RLock()
        self.base = None
        self.issuer = Issuer("Model Root")
        self.random = random.Random(options.seed)
        self.settings, self.schedule = copy.deepcopy(SETTINGS), []
        self.nonces, self.now = set(), time.time()
        self.accounts, self.orders, self.authzs, self.certificates = {}, {}, {}, {}
        self.open_orders = set()
        self.events = collections.defaultdict(collections.deque)  # what limits count: times
        self.requests, self.seconds = collections.Counter(), collections.Counter()
        self.breaches, self.forbidden, self.in_flight = [], {}, collections.Counter()
        self.validations, self.faults, self.problems = [], [], collections.Counter()

    # Limits.

    def breach(self, limit, who, retry_after=None):
        self.breaches.append({"limit": limit, "who": who, "at": self.now})
        headers = [("Retry-After", str(retry_after))] if retry_after else []
        detail = f"too many: {limit} of {who}, retry after {rfc3339(self.now + (retry_after or 0))}"
        raise Problem("rateLimited", detail, 429, headers)

    def count(self, limit, who, add=0):
        """Refuses what is over the limit, else counts `add` events."""
        most, window = LIMITS[limit]
        times = self.events[limit, who]
        while times and times[0] <= self.now - window:
            times.popleft()
        if not self.options.no_limits and len(times) >= most:
            until = int(times[len(times) - most] + window - self.now) + 1
            self.breach(limit, who, until)
        times.extend([self.now] * add)

    def add_event(self, limit, who):
        self.events[limit, who].append(self.now)

    def count_request(self, endpoint):
        self.requests[endpoint] += 1
        if self.options.no_limits:
            return
        name, most = (endpoint, REQUESTS[endpoint]) if endpoint in REQUESTS else ("other", OTHER_REQUESTS)
        if len(self.seconds) > 1000:
            self.seconds.clear()
        self.seconds[name, int(self.now)] += 1
        if self.seconds[name, int(self.now)] > most:
            self.breach("requests", name, 1)

    # What a test has scripted.

    def take(self, rules, endpoint=None):
        """Returns the first rule for the endpoint, and counts it down."""
        for rule in rules:
            if rule.get("endpoint", endpoint) not in (endpoint, "*"):
                continue
            if "count" in rule:
                rule["count"] -= 1
                if rule["count"] <= 0:
                    rules.remove(rule)
            return rule
        return None

    def scripted(self, endpoint):
        until = self.forbidden.get(endpoint)
        if until is not None and self.now < until:
            # It was told to wait, and has not.
            self.breach("retry-after", endpoint, int(until - self.now) + 1)
        rule = self.take(self.settings["problems"], endpoint)
        if rule is None:
            return
        headers, after = [("Link", f'<{link}>;rel="{rel}"') for rel, link in rule.get("links", {}).items()], rule.get("retry_after")
        if after is not None:
            self.forbidden[endpoint] = self.now + after
            as_date = email.utils.formatdate(self.now + after, usegmt=True)
            headers.append(("Retry-After", as_date if rule.get("date") else str(after)))
        members = {name: rule[name] for name in ("subproblems", "instance") if name in rule}
        raise Problem(rule["type"], rule.get("detail", "scripted"), rule.get("status", 400), headers, **members)

    def tick(self, headers):
        self.now = float(headers["x-virtual-time"]) if "x-virtual-time" in headers else time.time()
        while self.schedule and self.schedule[0]["at"] <= self.now:
            self.set(self.schedule.pop(0)["set"])
        for begin, end in self.settings["down"]:
            if begin <= self.now < end:
                self.requests["down"] += 1
                if self.settings["down_status"] is None:
                    raise Closed
                raise Problem("serverInternal", "down for maintenance", self.settings["down_status"])

    # Requests.

    def handle(self, method, path, headers, body, peer):
        with self.lock:
            endpoint = self.endpoint(path)
            try:
                self.tick(headers)
                self.count_request(endpoint)
                if not headers.get("user-agent"):
                    raise Problem("malformed", "no User-Agent (RFC 8555, section 6.1)")
                self.scripted(endpoint)
                answer = self.route(method, endpoint, path, headers, body, peer)
            except Problem as problem:
                self.problems[problem.document["type"].rpartition(":")[2]] += 1
                answer = Answer(problem.status, problem.document, problem.headers, kind="application/problem+json")
            except Closed:
                raise
            except Exception:  # the model's own fault, which no test must take for the client's
                self.faults.append(traceback.format_exc())
                answer = Answer(500, {"type": ACME + "serverInternal", "detail": self.faults[-1]})
            answer.headers += [("Link", f'<{self.base}/dir>;rel="index"'), ("Cache-Control", "no-store")]
            if method == "POST" or endpoint == "new-nonce":
                answer.headers.append(("Replay-Nonce", self.nonce()))
            rule = self.take(self.settings["garbage"], endpoint)
            if rule:
                answer = spoil(rule["mode"], answer)
            return answer

    @staticmethod
    def endpoint(path):
        parts = path.strip("/").split("/")
        return "finalize" if parts[0] == "order" and len(parts) == 3 else parts[0]

    def nonce(self):
        nonce = b64(self.random.getrandbits(128).to_bytes(16, "big"))
        self.nonces.add(nonce)
        return nonce

    def route(self, method, endpoint, path, headers, body, peer):
        gets = {"dir": self.directory, "new-nonce": self.new_nonce, "renewal-info": self.renewal_info}
        posts = {
            "new-account": self.new_account, "new-order": self.new_order, "revoke-cert": self.revoke,
            "key-change": self.key_change, "account": self.account, "order": self.order, "finalize": self.finalize,
            "authz": self.authz, "challenge": self.challenge, "certificate": self.download,
        }  # fmt: skip
        ids = path.strip("/").split("/")[1:]
        ids = ids[:1] if endpoint == "finalize" else ids
        if endpoint in gets and not (endpoint == "renewal-info" and not self.settings["ari"]):
            if method not in ("GET", "HEAD"):
                raise Problem("malformed", "GET only", 405)
            return gets[endpoint](method, *ids[:1])
        if endpoint not in posts:
            raise Problem("malformed", "no such resource", 404)
        if method != "POST":
            raise Problem("malformed", "POST only; POST-as-GET (RFC 8555, section 6.3)", 405)
        if headers.get("content-type") != "application/jose+json":
            raise Problem("malformed", "Content-Type is not application/jose+json", 415)
        header, payload, account, jwk = self.authenticate(self.base + path, endpoint, body)
        return posts[endpoint](account, jwk, payload, *ids[:2], **({"peer": peer} if endpoint == "new-account" else {}))

    def authenticate(self, url, endpoint, body):
        header, payload, signature, signed = parse_jws(json_object(body, "the body"))
        if ("jwk" in header) == ("kid" in header):
            raise Problem("malformed", "not exactly one of jwk and kid")
        account = None
        if "jwk" in header:
            if endpoint not in ("new-account", "revoke-cert"):
                raise Problem("malformed", "jwk where kid is due")
            key, _ = public_key(header["jwk"])
        else:
            if endpoint == "new-account":
                raise Problem("malformed", "kid where jwk is due")
            account = self.accounts.get(header["kid"])
            if account is None:
                raise Problem("accountDoesNotExist", "no such account")
            key = account["key"]
        verify(key, header, signature, signed)
        nonce = header.get("nonce")
        known = isinstance(nonce, str) and nonce in self.nonces
        self.nonces.discard(nonce) if known else None
        if not known or self.random.random() < self.settings["nonce_rejection"]:
            raise Problem("badNonce", "the nonce is not known" if not known else "the nonce is rejected")
        if header.get("url") != url:
            raise Problem("unauthorized", f"url is {header.get('url')!r}, of a request to {url!r}", 403)
        if account is not None and account["status"] != "valid":
            raise Problem("unauthorized", f"the account is {account['status']}", 403)
        return header, payload, account, header.get("jwk")

    def directory(self, _method):
        urls = {"newNonce": "new-nonce", "newAccount": "new-account", "newOrder": "new-order",
                "revokeCert": "revoke-cert", "keyChange": "key-change"}  # fmt: skip
        document = {name: f"{self.base}/{path}" for name, path in urls.items()}
        if self.settings["ari"]:
            document["renewalInfo"] = f"{self.base}/renewal-info"
        document["meta"] = {"termsOfService": f"{self.base}/terms", "website": "https://ca.test/", "caaIdentities": ["ca.test"],
                            "externalAccountRequired": self.settings["eab_required"]}  # fmt: skip
        if self.settings["profiles"]:
            document["meta"]["profiles"] = {name: f"{self.base}/profile/{name}" for name in self.settings["profiles"]}
        document["x" + b64(os.urandom(6))] = "https://community.letsencrypt.org/t/33417"  # unknown members are to be ignored
        return Answer(200, document)

    def new_nonce(self, method):
        return Answer(200 if method == "HEAD" else 204)

    # Accounts.

    def new_account(self, _account, jwk, payload, peer):
        request = json_object(payload, "the payload")
        key, thumbprint = public_key(jwk)
        for url, account in self.accounts.items():
            if account["thumbprint"] == thumbprint:
                if account["status"] != "valid":
                    raise Problem("unauthorized", f"the account is {account['status']}", 403)
                return Answer(200, self.account_document(account), [("Location", url)])
        if request.get("onlyReturnExisting") is True:
            raise Problem("accountDoesNotExist", "no account has this key")
        if request.get("termsOfServiceAgreed") is not True:
            raise Problem("malformed", "must agree to the terms of service", 403)
        binding = request.get("externalAccountBinding")
        if binding is None and self.settings["eab_required"]:
            raise Problem("externalAccountRequired", "an external account binding is needed", 403)
        kid = self.check_binding(binding, thumbprint) if binding is not None else None
        contact = self.contact(request.get("contact", []))
        self.count("new-accounts", peer, 1)
        url = f"{self.base}/account/{len(self.accounts) + 1}"
        account = {"url": url, "key": key, "thumbprint": thumbprint, "contact": contact, "status": "valid", "eab": kid}
        self.accounts[url] = account
        return Answer(201, self.account_document(account), [("Location", url)])

    @staticmethod
    def account_document(account):
        return {"status": account["status"], "contact": account["contact"], "orders": account["url"] + "/orders"}

    @staticmethod
    def contact(urls):
        if not isinstance(urls, list) or not all(isinstance(url, str) for url in urls):
            raise Problem("malformed", "contact is no list of texts")
        for url in urls:
            if not url.startswith("mailto:"):
                raise Problem("unsupportedContact", f"only mailto: and not {url}")
            if not re.fullmatch(r"mailto:[^@,?\s]+@[^@,?\s]+\.[^@,?\s]+", url):
                raise Problem("invalidContact", f"not one address: {url}")
        return urls

    def check_binding(self, binding, thumbprint):
        if not isinstance(binding, dict):
            raise Problem("malformed", "externalAccountBinding is no object")
        header, payload, signature, signed = parse_jws(binding, "externalAccountBinding")
        if header.get("alg") != "HS256" or "nonce" in header or header.get("url") != f"{self.base}/new-account":
            raise Problem("malformed", "the binding has another alg than HS256, a nonce, or another url")
        key = self.settings["eab"].get(header.get("kid"))
        if key is None:
            raise Problem("unauthorized", "the kid of the binding is not known", 403)
        if not hmac.compare_digest(hmac.new(unb64(key), signed, hashlib.sha256).digest(), signature):
            raise Problem("unauthorized", "the signature of the binding is wrong", 403)
        if public_key(json_object(payload, "the payload of the binding"))[1] != thumbprint:
            raise Problem("malformed", "the binding is for another key")
        return header["kid"]

    def account(self, account, _jwk, payload, number):
        if account["url"] != f"{self.base}/account/{number}":
            raise Problem("unauthorized", "another account's", 403)
        if payload:
            request = json_object(payload, "the payload")
            if "contact" in request:
                account["contact"] = self.contact(request["contact"])
            if request.get("status") == "deactivated":
                account["status"] = "deactivated"
        return Answer(200, self.account_document(account))

    def key_change(self, account, _jwk, payload):
        header, inner, signature, signed = parse_jws(json_object(payload, "the payload"), "the inner JWS")
        if "kid" in header or "nonce" in header or header.get("url") != f"{self.base}/key-change":
            raise Problem("malformed", "the inner JWS has a kid, a nonce, or another url")
        key, thumbprint = public_key(header.get("jwk"))
        verify(key, header, signature, signed)
        request = json_object(inner, "the inner payload")
        if request.get("account") != account["url"] or public_key(request.get("oldKey"))[1] != account["thumbprint"]:
            raise Problem("malformed", "the inner payload names another account or old key")
        for other in self.accounts.values():
            if other["thumbprint"] == thumbprint:
                raise Problem("malformed", "an account has this key", 409, [("Location", other["url"])])
        account.update(key=key, thumbprint=thumbprint)
        return Answer(200, self.account_document(account))

    # Orders.

    def new_order(self, account, _jwk, payload):
        request = json_object(payload, "the payload")
        if "notBefore" in request or "notAfter" in request:
            raise Problem("malformed", "notBefore and notAfter are not supported")
        identifiers = self.identifiers(request.get("identifiers"))
        names = [identifier["value"] for identifier in identifiers]
        profile = self.profile(request.get("profile"), identifiers)
        replaces = request.get("replaces")
        replaced = self.replaced(account, replaces, names) if replaces is not None else None
        if self.settings["order_reuse"]:
            for order in list(self.open_orders):
                order = self.refresh(self.orders[order])
                same = (order["account"], order["names"], order["profile"]) == (account["url"], sorted(names), profile)
                if same and order["status"] in ("pending", "ready"):
                    return Answer(201, self.order_document(order), [("Location", order["url"])])
        for name in names:
            self.count("failed-validations", f"{account['url']} {name}")
        if replaced is None:
            self.count("same-names", ",".join(sorted(names)))
            for domain in {registered(name) for name in names}:
                self.count("registered-domain", domain)
            self.count("new-orders", account["url"], 1)
        number = str(len(self.orders) + 1)
        expires = self.now + self.settings["order_lifetime"]
        order = {"url": f"{self.base}/order/{number}", "number": number, "account": account["url"], "names": sorted(names),
                 "identifiers": identifiers, "profile": profile, "named_profile": request.get("profile"), "status": "pending",
                 "replaces": replaces, "created": self.now, "expires": expires, "error": None, "serial": None}  # fmt: skip
        order["authzs"] = [self.authz_for(account, identifier) for identifier in identifiers]
        if replaced is not None:
            replaced["replaced_by"] = number
        self.orders[number] = order
        self.open_orders = {other for other in self.open_orders if is_open(self.refresh(self.orders[other]))} | {number}
        for name in names:
            at_once = sum(name in self.orders[other]["names"] for other in self.open_orders)
            self.in_flight[name] = max(self.in_flight[name], at_once)
        return Answer(201, self.order_document(self.refresh(order)), [("Location", order["url"])])

    def identifiers(self, identifiers):
        if not isinstance(identifiers, list) or not 1 <= len(identifiers) <= 100:
            raise Problem("malformed", "no list of 1 to 100 identifiers")
        seen = set()
        for identifier in identifiers:
            if not isinstance(identifier, dict) or not isinstance(identifier.get("value"), str):
                raise Problem("malformed", "an identifier is no object with type and value")
            kind, value = identifier.get("type"), identifier["value"]
            if value in seen:
                raise Problem("malformed", f"{value} twice")
            seen.add(value)
            if kind == "ip":
                try:
                    right = str(ipaddress.ip_address(value)) == value
                except ValueError:
                    right = False
                if not right:
                    raise Problem("malformed", f"{value} is no IP address as RFC 8738 writes it")
            elif kind == "dns":
                label = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
                if not re.fullmatch(rf"(\*\.)?({label}\.)+[a-z]({label})?", value) and not re.search(r"\.xn--[a-z0-9-]+$", value):
                    raise Problem("rejectedIdentifier", f"{value} is no domain name", subproblems=[
                        {"type": ACME + "rejectedIdentifier", "detail": "not a domain name", "identifier": identifier}])
            else:
                raise Problem("unsupportedIdentifier", f"{kind!r} is neither dns nor ip")
        return [{"type": identifier["type"], "value": identifier["value"]} for identifier in identifiers]

    def profile(self, name, identifiers):
        profiles = self.settings["profiles"]
        if name is not None and name not in profiles:
            raise Problem("invalidProfile", f"no profile {name!r}; there is {', '.join(profiles) or 'none'}")
        name = name or self.settings["default_profile"]
        if not profiles.get(name, {}).get("ip", True) and any(identifier["type"] == "ip" for identifier in identifiers):
            raise Problem("rejectedIdentifier", f"profile {name} does not permit IP addresses", 400)
        return name

    def replaced(self, account, cert_id, names):
        record = next((one for one in self.certificates.values() if one["cert_id"] == cert_id), None)
        if record is None:
            raise Problem("malformed", "replaces: no such certificate", 404)
        if record["account"] != account["url"]:
            raise Problem("unauthorized", "replaces: another account's certificate", 403)
        if not set(names) & set(record["names"]):
            raise Problem("malformed", "replaces: no identifier in common")
        by = self.orders.get(record["replaced_by"])
        if by is not None and self.refresh(by)["status"] != "invalid":
            raise Problem("alreadyReplaced", "another order replaces it", 409)
        return record

    def authz_for(self, account, identifier):
        wildcard = identifier["value"].startswith("*.")
        value = identifier["value"][2:] if wildcard else identifier["value"]
        for number, authz in self.authzs.items():
            same = (authz["account"], authz["value"], authz["wildcard"]) == (account["url"], value, wildcard)
            if same and self.refresh_authz(authz)["status"] == "valid":
                return number
        number = str(len(self.authzs) + 1)
        kinds = [kind for kind in self.settings["challenges"] if kind == "dns-01" or not wildcard]
        kinds = [kind for kind in kinds if kind != "dns-01" or identifier["type"] == "dns"]
        challenges = [{"type": kind, "status": "pending", "url": f"{self.base}/challenge/{number}/{index}",
                       "token": b64(self.random.getrandbits(256).to_bytes(32, "big"))} for index, kind in enumerate(kinds)]  # fmt: skip
        self.random.shuffle(challenges)
        # One of a kind that clients do not know, and without a token (draft-ietf-acme-dns-persist).
        challenges.append({"type": "dns-persist-01", "status": "pending", "url": f"{self.base}/challenge/{number}/9",
                           "issuer-domain-names": ["ca.test"]})  # fmt: skip
        self.authzs[number] = {"account": account["url"], "type": identifier["type"], "value": value, "wildcard": wildcard,
                               "status": "pending", "expires": self.now + self.settings["order_lifetime"],
                               "challenges": challenges, "due": None}  # fmt: skip
        return number

    def refresh_authz(self, authz):
        """What is due by the model's time: the end of a validation, the end of the authorization."""
        if authz["due"] is not None and self.now >= authz["due"][0]:
            _, challenge, problem = authz["due"]
            authz["due"] = None
            challenge["status"] = authz["status"] = "invalid" if problem else "valid"
            if problem:
                challenge["error"] = problem
                self.add_event("failed-validations", f"{authz['account']} {'*.' * authz['wildcard']}{authz['value']}")
            else:
                challenge["validated"] = rfc3339(self.now)
                authz["expires"] = self.now + self.settings["authz_lifetime"]
        if authz["status"] in ("pending", "valid") and self.now >= authz["expires"]:
            authz["status"] = "expired"
        return authz

    def refresh(self, order):
        if order["status"] == "processing" and self.now >= order["due"]:
            order["status"] = "invalid" if order["error"] else "valid"
        if order["status"] == "pending":
            states = [self.refresh_authz(self.authzs[number])["status"] for number in order["authzs"]]
            if "invalid" in states:
                order["status"] = "invalid"
                bad = self.authzs[order["authzs"][states.index("invalid")]]
                order["error"] = next(one["error"] for one in bad["challenges"] if "error" in one)
            elif all(state == "valid" for state in states):
                order["status"] = "ready"
        if is_open(order) and order["status"] != "processing" and self.now >= order["expires"]:
            order["status"], order["error"] = "invalid", {"type": ACME + "malformed", "detail": "the order has expired"}
        return order

    def order_document(self, order):
        document = {"status": order["status"], "expires": rfc3339(order["expires"]), "identifiers": order["identifiers"],
                    "authorizations": [f"{self.base}/authz/{number}" for number in order["authzs"]],
                    "finalize": order["url"] + "/finalize"}  # fmt: skip
        if self.settings["profiles"]:
            document["profile"] = order["profile"]
        if order["replaces"] and self.settings["reflect_replaces"]:
            document["replaces"] = order["replaces"]
        if order["error"] and order["status"] == "invalid":
            document["error"] = order["error"]
        if order["status"] == "valid":
            document["certificate"] = f"{self.base}/certificate/{order['serial']}"
        return document

    def polled(self, is_waiting):
        after = self.settings["poll_retry_after"]
        return [("Retry-After", str(after))] if is_waiting and after is not None else []

    def owned(self, things, number, account):
        thing = things.get(number)
        if thing is None:
            raise Problem("malformed", "no such resource", 404)
        if thing["account"] != account["url"]:
            raise Problem("unauthorized", "another account's", 403)
        return thing

    @staticmethod
    def post_as_get(payload):
        if payload != b"":
            raise Problem("malformed", "POST-as-GET has an empty payload")

    def order(self, account, _jwk, payload, number):
        self.post_as_get(payload)
        order = self.refresh(self.owned(self.orders, number, account))
        return Answer(200, self.order_document(order), self.polled(order["status"] in ("pending", "processing")))

    def authz(self, account, _jwk, payload, number):
        authz = self.refresh_authz(self.owned(self.authzs, number, account))
        if payload:
            if json_object(payload, "the payload").get("status") != "deactivated":
                raise Problem("malformed", "only status: deactivated")
            authz["status"] = "deactivated"
        return Answer(200, self.authz_document(authz), self.polled(authz["status"] == "pending"))

    @staticmethod
    def authz_document(authz):
        document = {"status": authz["status"], "expires": rfc3339(authz["expires"]), "challenges": authz["challenges"],
                    "identifier": {"type": authz["type"], "value": authz["value"]}}  # fmt: skip
        if authz["wildcard"]:
            document["wildcard"] = True
        if authz["status"] in ("valid", "invalid"):
            document["challenges"] = [one for one in authz["challenges"] if one["status"] == authz["status"]]
        return document

    def challenge(self, account, _jwk, payload, number, index):
        authz = self.refresh_authz(self.owned(self.authzs, number, account))
        url = f"{self.base}/challenge/{number}/{index}"
        challenge = next((one for one in authz["challenges"] if one["url"] == url), None)
        if challenge is None:
            raise Problem("malformed", "no such challenge", 404)
        if payload:
            if json_object(payload, "the payload"):
                raise Problem("malformed", "the response to a challenge is {}")
            if authz["status"] == "pending" and challenge["status"] == "pending" and authz["due"] is None:
                challenge["status"] = "processing"
                self.validate(authz, challenge, account["thumbprint"])
        self.refresh_authz(authz)
        headers = [("Link", f'<{self.base}/authz/{number}>;rel="up"')] + self.polled(challenge["status"] == "processing")
        return Answer(200, challenge, headers)

    def validate(self, authz, challenge, thumbprint):
        name = "*." * authz["wildcard"] + authz["value"]
        record = {"name": name, "type": challenge["type"], "at": self.now, "problem": None}
        self.validations.append(record)

        def finish(problem):
            if problem:
                record["problem"] = problem = {"type": ACME + problem[0], "detail": problem[1], "status": 400}
            authz["due"] = (self.now + self.settings["validating"], challenge, problem)

        rule = self.settings["fail"].get(name)
        if rule is not None and rule.get("count", 1) > 0:
            if "count" in rule:
                rule["count"] -= 1
            return finish((rule.get("type", "unauthorized"), rule.get("detail", "scripted")))
        if challenge["type"] == "dns-persist-01":
            return finish(("unauthorized", "no such record"))
        if self.options.trust:
            return finish(None)
        authorization = f"{challenge['token']}.{thumbprint}"
        txt = list(self.settings["txt"].get(f"_acme-challenge.{authz['value']}", []))
        where = self.options.map.get(authz["value"], authz["value"] if authz["type"] == "ip" else self.options.address)

        def work():
            problems = [validation(self.options, challenge["type"], authz["value"], where, authorization, txt)
                        for _ in range(self.settings["perspectives"])]  # fmt: skip
            with self.lock:
                finish(next((problem for problem in problems if problem), None))

        threading.Thread(target=work, daemon=True).start()
        return None

    # Certificates.

    def finalize(self, account, _jwk, payload, number):
        order = self.refresh(self.owned(self.orders, number, account))
        if order["status"] != "ready":
            raise Problem("orderNotReady", f"the order is {order['status']}", 403)
        try:
            csr = x509.load_der_x509_csr(unb64(json_object(payload, "the payload").get("csr")))
            key, right = csr.public_key(), csr.is_signature_valid
        except ValueError:
            raise Problem("badCSR", "the CSR cannot be read") from None
        self.check_csr(csr, key, right, order, account)
        order.update(status="processing", due=self.now + self.settings["processing"])
        if self.settings["order_invalid"] > 0:
            self.settings["order_invalid"] -= 1
            order["error"] = {"type": ACME + "serverInternal", "detail": "the certificate could not be issued", "status": 500}
        else:
            self.issue(order, key)
        return Answer(200, self.order_document(self.refresh(order)),
                      [("Location", order["url"])] + self.polled(order["status"] == "processing"))  # fmt: skip

    @staticmethod
    def check_csr(csr, key, right, order, account):
        if not right:
            raise Problem("badCSR", "the signature of the CSR is wrong")
        if not (isinstance(key, rsa.RSAPublicKey) and key.key_size in (2048, 3072, 4096)
                or isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in ("secp256r1", "secp384r1")):  # fmt: skip
            raise Problem("badCSR", "a key that is not certified")
        if key.public_numbers() == account["key"].public_numbers():
            raise Problem("badCSR", "the key is the account's")
        try:
            alternative = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (x509.ExtensionNotFound, ValueError):
            raise Problem("badCSR", "no alternative names") from None
        names = [str(one.value) for one in alternative]
        kinds = {type(one) for one in alternative} - {x509.DNSName, x509.IPAddress}
        if sorted(names) != order["names"] or kinds:
            raise Problem("badCSR", f"the CSR is for {sorted(names)}, the order for {order['names']}")
        for attribute in csr.subject:
            # A common name is a trap: an address or a long name in it is refused by authorities.
            if attribute.oid != NameOID.COMMON_NAME or attribute.value not in names or len(attribute.value) > 64:
                raise Problem("badCSR", "a subject that is none of the names")

    def issue(self, order, key):
        lifetime = self.settings["profiles"].get(order["profile"], {"lifetime": 90 * DAY})["lifetime"]
        # An hour early, for clients whose clock is late, as Let's Encrypt does it.
        begin, names, length = int(self.now) - HOUR, order["names"], self.settings["chain_length"]
        rule = self.take(self.settings["issue"])
        mode = rule["mode"] if rule else None
        if mode == "other-names":
            names = ["other.test"]
        if mode == "more-names":
            names = names + ["other.test"]
        if mode == "other-key":
            key = ec.generate_private_key(ec.SECP256R1()).public_key()
        if mode in ("expired", "future"):
            begin += (2 if mode == "future" else -2) * lifetime
        issuer = self.issuer
        leaf = certificate(None, key, issuer.names[length], issuer.keys[length], begin, begin + lifetime - 1, False, names)
        pem = lambda chain: b"".join(one.public_bytes(PEM) for one in chain)
        chains = [pem([leaf] + issuer.chain(length, alternate)) for alternate in (False, True)]
        if mode == "leaf-last":
            chains[0] = pem(issuer.chain(length, False) + [leaf])
        if mode == "long-chain":
            chains[0] = pem([leaf] + issuer.chain(length, False) * 400)
        if mode == "empty":
            chains[0] = b""
        if mode == "no-pem":
            chains[0] = b"-----BEGIN CERTIFICATE-----\n" + b"!" * 64 + b"\n-----END CERTIFICATE-----\n"
        serial, width = leaf.serial_number, (leaf.serial_number.bit_length() + 8) // 8
        identifier = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        spki = key.public_bytes(DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        hexadecimal = serial.to_bytes(width, "big").hex()
        self.certificates[hexadecimal] = {
            "serial": hexadecimal, "names": names, "account": order["account"], "profile": order["profile"], "chains": chains,
            "cert_id": f"{b64(identifier)}.{b64(serial.to_bytes(width, 'big'))}", "not_before": begin,
            "not_after": begin + lifetime - 1, "key": key, "key_sha256": hashlib.sha256(spki).hexdigest(), "order": order["number"],
            "replaces": order["replaces"], "replaced_by": None, "issued": self.now, "downloaded": None, "revoked": None,
        }  # fmt: skip
        order["serial"] = hexadecimal
        if not order["replaces"]:
            self.add_event("same-names", ",".join(order["names"]))
            for domain in {registered(name) for name in order["names"]}:
                self.add_event("registered-domain", domain)

    def download(self, account, _jwk, payload, serial, alternate=None):
        self.post_as_get(payload)
        record = self.owned(self.certificates, serial, account)
        if alternate not in (None, "1") or alternate and not self.settings["alternate"]:
            raise Problem("malformed", "no such chain", 404)
        if record["downloaded"] is None:
            record["downloaded"] = self.now
        url = f"{self.base}/certificate/{serial}"
        links = [("Link", f'<{url if alternate else url + "/1"}>;rel="alternate"')] if self.settings["alternate"] else []
        return Answer(200, body=record["chains"][bool(alternate)], headers=links, kind="application/pem-certificate-chain")

    def renewal_info(self, _method, cert_id):
        record = next((one for one in self.certificates.values() if one["cert_id"] == cert_id), None)
        if record is None:
            raise Problem("malformed", "no such certificate", 404)
        lifetime = record["not_after"] - record["not_before"]
        ideal = record["not_after"] - lifetime // (2 if lifetime < 10 * DAY else 3)
        window = ideal - lifetime // 100, ideal + lifetime // 100
        if record["revoked"] is not None or self.settings["ari_window"] == "now":
            window = self.now - HOUR, self.now - HOUR // 2
        elif self.settings["ari_window"]:
            window = self.settings["ari_window"]
        document = {"suggestedWindow": {"start": rfc3339(window[0]), "end": rfc3339(window[1])}}
        if self.settings["ari_window"]:
            document["explanationURL"] = "https://ca.test/incident"
        return Answer(200, document, [("Retry-After", str(self.settings["ari_retry_after"]))])

    def revoke(self, account, jwk, payload):
        request = json_object(payload, "the payload")
        try:
            leaf = x509.load_der_x509_certificate(unb64(request.get("certificate")))
        except ValueError:
            raise Problem("malformed", "the certificate cannot be read") from None
        width = (leaf.serial_number.bit_length() + 8) // 8
        record = self.certificates.get(leaf.serial_number.to_bytes(width, "big").hex())
        if record is None:
            raise Problem("malformed", "no such certificate", 404)
        by_key = jwk is not None and public_key(jwk)[0].public_numbers() == record["key"].public_numbers()
        if not by_key and (account is None or account["url"] != record["account"]):
            raise Problem("unauthorized", "neither its account nor its key", 403)
        reason = request.get("reason", 0)
        if reason not in (0, 1, 3, 4, 5) or isinstance(reason, bool):
            raise Problem("badRevocationReason", f"reason {reason!r}")
        if record["revoked"] is not None:
            raise Problem("alreadyRevoked", "it is revoked")
        record["revoked"] = reason
        return Answer(200)

    # The test's side.

    def set(self, values):
        for name, value in values.items():
            if name == "lifetime":
                self.settings["profiles"][self.settings["default_profile"]]["lifetime"] = value
            elif name not in self.settings:
                raise Problem("malformed", f"no setting {name}")
            else:
                self.settings[name] = value

    def control(self, path, headers, body):
        """POST /control takes an object: `set` (SETTINGS; `lifetime` is that of the default profile), `schedule` (a list of
        {"at": time, "set": …} for later), `down` (seconds from now), `txt_add` and `txt_remove` ([name, value]),
        `forget_accounts`, `forget_nonces`, `forget_authzs` (valid ones are validated again), `reset` (counts and breaches).
        The answer, as that of GET, is what has happened; that of GET /control/PART is a part of it."""
        with self.lock:
            if "x-virtual-time" in headers:
                self.now = float(headers["x-virtual-time"])
            request = json_object(body, "the body") if body else {}
            self.set(request.get("set", {}))
            self.schedule = sorted(self.schedule + request.get("schedule", []), key=lambda one: one["at"])
            if "down" in request:
                self.settings["down"].append([self.now, self.now + request["down"]])
            for verb, change in (("txt_add", list.append), ("txt_remove", list.remove)):
                if verb in request:
                    name, value = request[verb]
                    change(self.settings["txt"].setdefault(name.rstrip("."), []), value)
            if request.get("forget_accounts"):
                self.accounts = {}
            for authz in self.authzs.values() if request.get("forget_authzs") else ():
                authz["status"] = "deactivated" if authz["status"] == "valid" else authz["status"]
            if request.get("forget_nonces"):
                self.nonces = set()
            if request.get("reset"):
                self.breaches, self.requests, self.in_flight = [], collections.Counter(), collections.Counter()
            hidden = ("key", "chains", "due")
            plain = lambda things: [{k: v for k, v in one.items() if k not in hidden} for one in things.values()]
            parts = {
                "now": lambda: self.now, "breaches": lambda: self.breaches, "requests": lambda: self.requests,
                "problems": lambda: self.problems, "accounts": lambda: plain(self.accounts), "in_flight_max": lambda: self.in_flight,
                "orders": lambda: [{k: v for k, v in self.refresh(one).items() if k not in hidden} for one in self.orders.values()],
                "certificates": lambda: plain(self.certificates), "validations": lambda: self.validations,
                "txt": lambda: self.settings["txt"], "gaps": self.gaps,
                "faults": lambda: self.faults,
            }  # fmt: skip
            part = path.removeprefix("/control").strip("/")
            return Answer(200, parts[part]() if part else {name: value() for name, value in parts.items()})

    def gaps(self):
        """Returns for each name when no certificate was downloaded and valid, from the first download until now."""
        gaps = {}
        for name in {name for record in self.certificates.values() for name in record["names"]}:
            held = [(one["downloaded"], one["not_after"]) for one in self.certificates.values()
                    if name in one["names"] and one["downloaded"] is not None]  # fmt: skip
            until, gaps[name] = None, []
            for begin, end in sorted(held) + [(self.now, self.now)] * bool(held):
                if until is not None and begin > until:
                    gaps[name].append([until, begin])
                until = max(until or 0, end)
        return gaps


def is_open(order):
    return order["status"] in ("pending", "ready", "processing")


def registered(name):
    """The registered domain, without a list of public suffixes: the last two labels. An address is one by itself."""
    return name if general(name).__class__ is x509.IPAddress else ".".join(name.split(".")[-2:])


# --- Validation ----------------------------------------------------------------------------------------------------------


def validation(options, kind, name, where, authorization, txt):
    """Returns a problem's type and its text, or None."""
    digest = hashlib.sha256(authorization.encode()).digest()
    try:
        if kind == "dns-01":
            return None if b64(digest) in txt else ("unauthorized", f"no TXT record of _acme-challenge.{name} is right: {txt}")
        if where is None:
            return ("dns", f"no address of {name}")
        if kind == "http-01":
            return http_01(options, name, where, authorization)
        return tls_alpn_01(options, name, where, digest)
    except OSError as error:
        tls = isinstance(error, ssl.SSLError)
        return ("tls" if tls else "connection", f"{where}: {error}")


def http_01(options, name, where, authorization):
    host = f"[{name}]" if ":" in name else name
    scheme, path = "http", "/.well-known/acme-challenge/" + authorization.partition(".")[0]
    for _ in range(10):
        port = options.http_port if scheme == "http" else options.tls_port
        with socket.create_connection((where, port), 10) as sock:
            if scheme == "https":
                context = ssl._create_unverified_context()
                sock = context.wrap_socket(sock, server_hostname=name)
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: model\r\nConnection: close\r\n\r\n".encode())
            data = b""
            while len(data) < 65536 and (piece := sock.recv(65536)):
                data += piece
            sock.close()
        head, _, body = data.partition(b"\r\n\r\n")
        status = int((head.split(b" ", 2) + [b"0"] * 2)[1])
        if status in (301, 302, 303, 307, 308):
            location = re.search(rb"(?im)^location: *([^\r\n]*)", head)
            parts = re.fullmatch(r"(https?)://([^/:]+|\[[^]]+\])(?::\d+)?(/.*)", location[1].decode() if location else "")
            if not parts:
                return ("connection", "a redirect that leads nowhere")
            scheme, host, path = parts.groups()
            continue
        if status != 200:
            return ("unauthorized", f"status {status}")
        return None if body.rstrip() == authorization.encode() else ("unauthorized", f"the file is {body[:100]!r}")
    return ("connection", "too many redirects")


def tls_alpn_01(options, name, where, digest):
    is_ip = isinstance(general(name), x509.IPAddress)
    server_name = ipaddress.ip_address(name).reverse_pointer if is_ip else name
    context = ssl._create_unverified_context()
    context.set_alpn_protocols(["acme-tls/1"])
    with socket.create_connection((where, options.tls_port), 10) as plain:
        with context.wrap_socket(plain, server_hostname=server_name) as sock:
            if sock.selected_alpn_protocol() != "acme-tls/1":
                return ("unauthorized", "acme-tls/1 was not chosen")
            leaf = x509.load_der_x509_certificate(sock.getpeercert(binary_form=True))
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    if list(names) != [general(name)]:
        return ("unauthorized", f"the certificate is for {[str(one.value) for one in names]}")
    try:
        extension = leaf.extensions.get_extension_for_oid(ObjectIdentifier("1.3.6.1.5.5.7.1.31"))
    except x509.ExtensionNotFound:
        return ("unauthorized", "no acmeIdentifier")
    # An OCTET STRING of 32 bytes in DER.
    right = extension.critical and extension.value.value == b"\x04\x20" + digest
    return None if right else ("unauthorized", "acmeIdentifier is not critical, or wrong")


# --- HTTP ----------------------------------------------------------------------------------------------------------------


def spoil(mode, answer):
    """Returns another answer in the place of the right one: what a broken or hostile authority may say."""
    kept = [(name, value) for name, value in answer.headers if name != "Replay-Nonce"]
    html = b"<html><body><h1>It works!</h1></body></html>"
    if mode == "html":
        return Answer(200, body=html, kind="text/html", headers=kept)
    if mode == "html-503":
        return Answer(503, body=html, kind="text/html")
    if mode == "empty":
        return Answer(answer.status, headers=answer.headers)
    if mode == "types":
        answer.body = json.dumps(wrong_types(answer.document)).encode()
    elif mode == "list":
        answer.body = b"[]"
    elif mode == "deep":
        answer.body = b"[" * 500_000
    elif mode == "not-utf8":
        answer.body = b'{"type":"\xff\xfe"}'
    elif mode == "http-urls":
        answer.body = answer.body.replace(b"https://", b"http://")
        answer.headers = [(name, value.replace("https://", "http://")) for name, value in answer.headers]
    elif mode == "no-nonce":
        answer.headers = kept
    elif mode == "bad-nonce":
        answer.headers = kept + [("Replay-Nonce", 'a"b\\c d')]
    elif mode == "location":
        answer.headers = [(name, "http://127.0.0.1:1/" if name == "Location" else value) for name, value in answer.headers]
    elif mode == "no-location":
        answer.headers = [(name, value) for name, value in answer.headers if name != "Location"]
    elif mode == "redirect":
        return Answer(307, headers=[("Location", "http://127.0.0.1:1/")])
    elif mode == "many":
        answer.document["authorizations"] = answer.document.get("authorizations", ["https://a.test/"]) * 10_000
        answer.body = json.dumps(answer.document).encode()
    elif mode == "control":
        answer.status, answer.kind = 400, "application/problem+json"
        answer.body = json.dumps({"type": ACME + "dns", "detail": "\x1b[31mred\r\nline\u202e" + "x" * 5000}).encode()
    elif mode in ("huge", "endless", "endless-head", "truncated", "close", "not-http"):
        answer.raw = mode
    else:
        raise ValueError(mode)
    return answer


def wrong_types(value):
    """Every text becomes a number, every number a text, every object a list."""
    if isinstance(value, dict):
        return {name: wrong_types(one) for name, one in value.items()} if len(value) > 2 else list(value)
    if isinstance(value, list):
        return {"0": [wrong_types(one) for one in value]}
    return 7 if isinstance(value, str) else "seven"


def send(sock, answer, head_only):
    reason = {200: "OK", 201: "Created", 204: "No Content", 400: "Bad Request", 429: "Too Many Requests"}.get(answer.status, "Status")
    lines = [f"HTTP/1.1 {answer.status} {reason}", f"Content-Type: {answer.kind}"]
    raw = getattr(answer, "raw", None)
    if raw is None and answer.status != 204:
        lines.append(f"Content-Length: {len(answer.body)}")
    lines += [f"{name}: {value}" for name, value in answer.headers]
    head = "\r\n".join(lines).encode()
    if raw is None:
        sock.sendall(head + b"\r\n\r\n" + (b"" if head_only else answer.body))
        return
    if raw == "not-http":
        sock.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
    if raw in ("huge", "truncated"):
        sock.sendall(head + f"\r\nContent-Length: {1 << 40}\r\n\r\n".encode() + answer.body)
    # Until the client has had enough; a bound, for a client that never has.
    for _ in range(1 << 14 if raw == "huge" else 0):
        sock.sendall(b" " * 65536)
    if raw == "endless":
        sock.sendall(head + b"\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(1 << 14):
            sock.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")
    if raw == "endless-head":
        sock.sendall(head)
        for _ in range(1 << 14):
            sock.sendall(b"\r\nX-More: " + b"x" * 65526)
    raise Closed


def serve(authority, sock, peer, context):
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(300)
        if context:
            sock = context.wrap_socket(sock, server_side=True)
        reader = sock.makefile("rb")
        while request := reader.readline(8192):
            method, path, _ = request.decode("latin-1").split(" ", 2)
            headers = {}
            while (line := reader.readline(8192)) not in (b"\r\n", b"\n", b""):
                name, _, value = line.decode("latin-1").partition(":")
                headers[name.strip().lower()] = value.strip()
            body = reader.read(min(int(headers.get("content-length", 0)), 1 << 20))
            if path.startswith("/control"):
                answer = controlled(authority, context, path, headers, body)
            else:
                time.sleep(authority.settings["delay"])
                answer = authority.handle(method, path, headers, body, peer)
            send(sock, answer, method == "HEAD")
            if headers.get("connection", "").lower() == "close":
                break
    except (OSError, ValueError, Closed):
        pass  # the client is gone, or is none, or gets no answer
    finally:
        sock.close()


def controlled(authority, context, path, headers, body):
    try:
        # Not over TLS: there is what a client may see.
        return Answer(404) if context else authority.control(path, headers, body)
    except (Problem, ValueError, KeyError, TypeError) as error:
        return Answer(400, {"error": repr(error)})


def listen(authority, port, context):
    listener = socket.create_server(("127.0.0.1", port), backlog=128)

    def accept():
        while True:
            sock, peer = listener.accept()
            threading.Thread(target=serve, args=(authority, sock, peer[0], context), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dir", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--http-port", type=int, default=80)
    parser.add_argument("--tls-port", type=int, default=443)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--map", action="append", default=[])
    parser.add_argument("--trust", action="store_true")
    parser.add_argument("--no-limits", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.map = {name: address or None for name, _, address in (one.partition("=") for one in options.map)}
    authority = Authority(options)
    path = lambda name: os.path.join(options.dir, name)
    api, key = Issuer("Model API Root"), ec.generate_private_key(ec.SECP256R1())
    begin, end = calendar.timegm((2020, 1, 1, 0, 0, 0)), calendar.timegm((2070, 1, 1, 0, 0, 0))
    names = ["localhost", "ca.test", "127.0.0.1", "::1"]
    own = certificate(None, key.public_key(), api.names[2], api.keys[2], begin, end, False, names)
    private = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    files = {"api.pem": [api.root], "root.pem": [authority.issuer.root], "alternate.pem": [authority.issuer.alternate_root],
             "server.pem": [own, api.first]}  # fmt: skip
    for name, chain in files.items():
        with open(path(name), "wb") as file:
            file.write(b"".join(one.public_bytes(PEM) for one in chain) + (private if name == "server.pem" else b""))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path("server.pem"))
    # The base is known with the port; no client knows the port before it is printed.
    port = listen(authority, options.port, context)
    authority.base = f"https://127.0.0.1:{port}"
    plain = listen(authority, 0, None)
    print(json.dumps({"directory": f"{authority.base}/dir", "port": port, "plain": plain}), flush=True)
    sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
