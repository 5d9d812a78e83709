#!/bin/sh
# The certificates of the tests: an authority, and what it signed for loopback, for another host, and until long ago; and one
# that nobody signed. Each file but the authority's has its key, too.
set -eu
cd "$(mktemp -d)"
here="IP:127.0.0.1,DNS:localhost"

key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }

own() { # name, further extension
    key "$1"
    openssl req -x509 -new -key "$1.key" -subj "/CN=$1" -days 36500 -addext "$2" -out "$1.crt"
}

signed() { # name, whom it is for, from, to
    key "$1"
    openssl req -new -key "$1.key" -subj "/CN=$1" -addext "subjectAltName=$2" -out "$1.csr"
    openssl ca -batch -notext -config ca.cnf -cert authority.crt -keyfile authority.key -in "$1.csr" -out "$1.crt" \
        -startdate "$3" -enddate "$4"
}

cat >ca.cnf <<END
[ca]
default_ca = tests
[tests]
new_certs_dir = .
database = index
rand_serial = yes
default_md = sha256
policy = names
copy_extensions = copy
x509_extensions = leaf
[names]
commonName = supplied
[leaf]
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
END
: >index
own authority "keyUsage=critical,keyCertSign,cRLSign"
signed good "$here" 20250101000000Z 21250101000000Z
signed other_host DNS:mail.example.org 20250101000000Z 21250101000000Z
signed expired "$here" 20250101000000Z 20250201000000Z
own self_signed "subjectAltName=$here"
to="$OLDPWD"
cp authority.crt "$to/authority.pem"
for name in good other_host expired self_signed; do cat "$name.crt" "$name.key" >"$to/$name.pem"; done
