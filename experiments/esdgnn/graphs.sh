# shellcheck shell=bash
# The graphs (sourced): every one that is here gets a container in $OUT and a place in $real or $made.
real=() made=()

# add LIST NAME COMMAND…: makes $OUT/NAME.h5 once.
add() {
    local list=$1 name=$2
    shift 2
    [ -f "$OUT/$name.h5" ] || "$FLIPBOOK" "$@" -o "$OUT/$name.h5" >"$OUT/$name.log" 2>&1 || {
        tail -n 5 "$OUT/$name.log" >&2
        exit 1
    }
    if [ "$list" = real ]; then real+=("$name"); else made+=("$name"); fi
}

say "graphs"
d=$DATA/bitcoin-otc/soc-sign-bitcoinotc.csv
[ ! -f "$d" ] || add real bitcoin-otc import "$d" --columns src,dst,weight,time --step 14d --label sign
d=$DATA/bitcoin-alpha/soc-sign-bitcoinalpha.csv
[ ! -f "$d" ] || add real bitcoin-alpha import "$d" --columns src,dst,weight,time --step 14d --label sign
d=$DATA/uci-messages/CollegeMsg.txt.gz
[ ! -f "$d" ] || add real uci-messages import "$d" --columns src,dst,time --step 190080s --undirected
d=$DATA/as-733/first100.tsv.zst
[ ! -f "$d" ] || add real as-733 import "$d" --columns time,src,dst --step 1 --undirected
d=$DATA/email-eu-core/email-Eu-core-temporal.txt.gz
[ ! -f "$d" ] || add real email-eu-core import "$d" --columns src,dst,time --step 7d
d=$DATA/sx-mathoverflow/sx-mathoverflow.txt.gz
[ ! -f "$d" ] || add real sx-mathoverflow import "$d" --columns src,dst,time --step 14d

# Stand-ins: nodes, events and steps as published for the paper's graphs, times SCALE (not the steps).
n() { awk -v x="$1" -v s="$SCALE" 'BEGIN { printf "%d", x * s + 0.5 }'; }
add made payments generate payments --nodes 20000 --steps 60 --seed 1
add made sbm-drift generate sbm --nodes 3000 --steps 60 --degree-in 2 --degree-out 1 --drift 0.02 --features 0 --seed 1
add made epinions-like generate rmat --nodes "$(n 755000)" --edges "$(n 13700000)" --steps 501 --directed --features 0 --seed 1
add made flickr-growth-like generate rmat --nodes "$(n 2300000)" --edges "$(n 33100000)" --steps 134 --growth 0.02 --directed --features 0 --seed 1
add made youtube-growth-like generate rmat --nodes "$(n 3200000)" --edges "$(n 12200000)" --steps 203 --growth 0.015 --directed --features 0 --seed 1
add made amlsim-like generate rmat --nodes "$(n 1000000)" --edges "$(n 123000000)" --steps 200 --directed --features 0 --seed 1
