#!/usr/bin/env bash
# Install what a few tests need of Debian: SoftHSM for PKCS#11, and GNOME's keyring. Without them these are skipped.
set -uo pipefail
PACKAGES=(softhsm2 dbus gnome-keyring)
missing=()
for program in softhsm2-util dbus-daemon gnome-keyring-daemon; do
  command -v "$program" > /dev/null || missing+=("$program")
done
[ ${#missing[@]} = 0 ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
  echo "not installed: ${PACKAGES[*]}; tests of PKCS#11 and of the keyring are skipped"
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
timeout 300 sh -c 'apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@"' install "${PACKAGES[@]}" > /dev/null ||
  echo "could not install: ${PACKAGES[*]}; tests of PKCS#11 and of the keyring are skipped"
