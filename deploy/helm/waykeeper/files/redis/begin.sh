#!/bin/sh
# begin.sh redis|sentinel [ARGUMENT…]: one of several Redis, or the Sentinel beside it. Whom the Sentinels name is the master.
# PEERS, DOMAIN, NAME (of the master's group) and HOME_DIR are said.
set -eu
what=$1
shift
me="$(hostname).$DOMAIN"
master=
for peer in $PEERS; do
  [ "$peer.$DOMAIN" != "$me" ] || [ "$what" = sentinel ] || continue
  said=$(timeout 2 redis-cli -h "$peer.$DOMAIN" -p 26379 sentinel get-master-addr-by-name "$NAME" 2>/dev/null | head -n 1) || said=
  case "$said" in *."$DOMAIN") master=$said && break ;; esac
done
# Where no Sentinel answers: whom others copy, else who says so of itself, else the first of us.
alone=
for peer in $PEERS; do
  [ -z "$master" ] || break
  [ "$peer.$DOMAIN" != "$me" ] || [ "$what" = sentinel ] || continue
  said=$(timeout 2 redis-cli -h "$peer.$DOMAIN" -p 6379 role 2>/dev/null) || said=
  second=$(echo "$said" | sed -n 2p) third=$(echo "$said" | sed -n 3p)
  case "$said" in
    slave*) case "$second" in *."$DOMAIN") master=$second ;; esac ;;
    master*) if [ -n "$third" ]; then master="$peer.$DOMAIN"; else alone=${alone:-$peer.$DOMAIN}; fi ;;
  esac
done
master=${master:-${alone:-${PEERS%% *}.$DOMAIN}}
umask 077
if [ "$what" = redis ]; then
  { cat /etc/redis/redis.conf; echo "replica-announce-ip $me"; } >"$HOME_DIR/redis.conf"
  [ "$master" = "$me" ] || echo "replicaof $master 6379" >>"$HOME_DIR/redis.conf"
  exec redis-server "$HOME_DIR/redis.conf" "$@"
fi
# By a name of its own that stays, so that the others do not count it twice when it begins anew.
{
  cat /etc/redis/sentinel.conf
  echo "sentinel myid $(printf %s "$me" | sha1sum | cut -c 1-40)"
  echo "sentinel announce-ip $me"
  echo "sentinel monitor $NAME $master 6379 $QUORUM"
  echo "sentinel auth-pass $NAME $REDISCLI_AUTH"
  echo "sentinel down-after-milliseconds $NAME 5000"
  echo "sentinel failover-timeout $NAME 30000"
} >"$HOME_DIR/sentinel.conf"
exec redis-server "$HOME_DIR/sentinel.conf" --sentinel "$@"
