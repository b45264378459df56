#!/bin/sh
# Starts the server with the libraries that it was built for, which lie beside it.
usr=$(dirname "$(readlink -f "$0")")/unpacked/usr
exec "$usr"/lib*/ld-linux-*.so.* --library-path "$(echo "$usr"/lib/*-linux-gnu*)" "$usr/sbin/NAME" "$@"
