#!/bin/sh
# Adds or removes a TXT record by a dynamic update (RFC 2136) that is signed with a key of TSIG, as
# BIND, Knot and PowerDNS take it. For dns_command in [acme]:
#
#   dns_command = ["/etc/sitar/nsupdate.sh", "ns1.example.com", "/etc/sitar/tsig.key"]
#
# The first two arguments are the primary name server of the zone, perhaps with a port behind it
# ("ns1.example.com 5353"), and a file with the key as tsig-keygen prints it. sitar adds three:
# add or remove, the name of the record, and its text.
#
# In BIND, this lets the key change the records of challenges and nothing else:
#
#   zone "example.com" {
#       ...
#       update-policy { grant sitar. name _acme-challenge.example.com. TXT; };
#   };
set -eu

server=$1 key=$2 verb=$3 name=$4 text=$5
case $verb in
add) update="add $name. 60 TXT \"$text\"" ;;
remove) update="delete $name. TXT \"$text\"" ;;
*) echo "neither add nor remove: $verb" >&2; exit 2 ;;
esac
printf 'server %s\nupdate %s\nsend\n' "$server" "$update" | nsupdate -k "$key"
