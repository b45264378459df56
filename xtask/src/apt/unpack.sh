# Unpacks what was fetched into the folder that is given, for a file that starts it.
for package in "$0"/fetched/archives/*.deb; do
    dpkg-deb -x "$package" "$0/unpacked" || exit
done
rm -r "$0/fetched"
chmod +x "$0/$1"
