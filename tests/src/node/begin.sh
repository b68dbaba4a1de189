#!/usr/bin/env bash
# begin.sh DIR: what a node runs, as the first process of a process and a mount namespace of its own.
#
# All ends with it. What is written is in DIR, or on file systems in memory that end too; the network
# is the one in which it is started. The kubelet and the others begin when DIR/cluster is there.
set -euo pipefail
dir=$1 name=$2 address=$3 services=$4 tag=$5

# What the kubelet mounts is to be seen by containers.
mount --make-rshared /
for place in /run /var/lib /var/log; do mount -t tmpfs node "$place"; done
# These are the whole machine's: the kubelet finds them as it would set them.
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
  kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
  file=$dir/sysctl/${setting%=*}
  mkdir -p "${file%/*}"
  echo "${setting#*=}" >"$file"
  mount --bind "$file" "/proc/sys/${setting%=*}"
done
# An address of a Service that kube-proxy knows nothing of leads nowhere.
ip route add "$services" dev lo
echo 1 >/proc/sys/net/ipv4/ip_forward

# New connections to pods are for kube-network-policies to decide, whose own rules need a kernel with nft's `queue`:
# here packets come to it by iptables. The kubelet's probes are nobody's business.
iptables -t mangle -A POSTROUTING -m owner --uid-owner 0 -j RETURN
iptables -t mangle -A POSTROUTING -o veth+ -p tcp -m conntrack --ctstate NEW -j NFQUEUE --queue-num 100

begin() { # begin PROGRAM ARGUMENT…
  "$@" >"$dir/log/$1" 2>&1 </dev/null &
}

begin containerd --config "$dir/containerd.toml"
images() { ctr --address /run/containerd/containerd.sock --namespace k8s.io images "$@"; }
for _ in $(seq 300); do images list >/dev/null 2>&1 && break; sleep 0.1; done
images import --no-unpack "$dir/images.tar" >"$dir/log/images" 2>&1
# As an installation names them.
for image in extauth ratelimit waypoint proxy waykeeper; do
  images tag "docker.io/waykeeper/$image:test" "docker.io/waykeeper/$image:$tag" >>"$dir/log/images" 2>&1
done

until [ -e "$dir/cluster" ]; do sleep 0.1; done
begin kubelet --config "$dir/kubelet.yaml" --kubeconfig "$dir/kubelet.kubeconfig" --hostname-override "$name" --node-ip "$address"
begin kube-controller-manager --kubeconfig "$dir/kube-controller-manager.kubeconfig" --use-service-account-credentials \
  --service-account-private-key-file "$dir/accounts.key" --root-ca-file "$dir/ca.crt" --leader-elect=false --secure-port 0
begin kube-scheduler --kubeconfig "$dir/kube-scheduler.kubeconfig" --leader-elect=false --secure-port 0
begin kube-proxy --config "$dir/kube-proxy.yaml" --hostname-override "$name"
begin kube-network-policies "$dir/kube-network-policies.kubeconfig" "$name"
begin coredns -conf "$dir/Corefile"
# Whichever ends first ends the node.
wait -n || true
jobs -l >"$dir/log/ended"
