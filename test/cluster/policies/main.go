// Command policies judges the first packet of each connection of a node by the network policies of its cluster, with the engine of kube-network-policies.
// That project's own program cannot be had: once a second it lays rules of nft anew, which not every kernel takes, and whenever such an attempt
// takes a hook back the kernel throws away every packet that is waiting for a verdict. A question to the name server that is lost so takes
// five seconds. Here the rules are there before, and stay.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"syscall"

	"github.com/florianl/go-nfqueue/v2"
	"github.com/mdlayher/netlink"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/kube-network-policies/pkg/api"
	"sigs.k8s.io/kube-network-policies/pkg/network"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
	"sigs.k8s.io/kube-network-policies/pkg/podinfo"
)

// options are the program's.
type options struct {
	config, node, runtime string
	pods, services        netip.Prefix
	queue                 uint
}

func main() {
	var o options
	flag.StringVar(&o.config, "kubeconfig", "", "how the API server is reached")
	flag.StringVar(&o.node, "node", "", "name of the node")
	flag.StringVar(&o.runtime, "runtime", "", "socket of the container runtime, such as unix:///run/containerd/containerd.sock")
	flag.TextVar(&o.pods, "pods", netip.Prefix{}, "addresses that pods have, such as 10.244.0.0/16")
	flag.TextVar(&o.services, "services", netip.Prefix{}, "addresses that Services have")
	flag.UintVar(&o.queue, "queue", 0, "number of the queue of netfilter that new connections come from")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, o); err != nil {
		slog.Error("policies are not enforced, and nothing passes", "err", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	j := judge{options: o}
	if err := j.watch(ctx); err != nil {
		return err
	}
	var err error
	j.packets, err = nfqueue.Open(&nfqueue.Config{
		NfQueue: uint16(o.queue), Copymode: nfqueue.NfQnlCopyPacket, MaxPacketLen: 128, // the headers
		MaxQueueLen: 4096, Flags: nfqueue.NfQaCfgFlagGSO,
	})
	if err != nil {
		return fmt.Errorf("queue %d: %w", o.queue, err)
	}
	defer func() { _ = j.packets.Close() }()
	// A full socket costs the packets that did not fit, and no more.
	if err := errors.Join(j.packets.SetOption(netlink.NoENOBUFS, true), j.packets.Con.SetReadBuffer(4<<20)); err != nil {
		return err
	}
	broken := make(chan error, 1)
	err = j.packets.RegisterWithErrorFunc(ctx, func(a nfqueue.Attribute) int {
		go j.decide(ctx, a)
		return 0
	}, func(err error) int {
		if errors.Is(err, syscall.ENOENT) {
			return 0 // what waited for a verdict went with its pod
		}
		broken <- err
		return 1
	})
	if err != nil {
		return fmt.Errorf("queue %d: %w", o.queue, err)
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-broken:
		return err
	}
}

// judge knows the cluster's pods and policies.
type judge struct {
	options
	info    api.PodInfoProvider
	engine  *networkpolicy.PolicyEngine
	packets *nfqueue.Nfqueue
}

// watch reaches the cluster and the node's container runtime, and follows what the verdicts depend on.
func (j *judge) watch(ctx context.Context) error {
	config, err := clientcmd.BuildConfigFromFlags("", j.config)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	started, err := newSandboxes(j.runtime)
	if err != nil {
		return err
	}
	return j.follow(ctx, client, started)
}

// follow keeps up with pods, namespaces and policies, and returns when all of them are known. What started knows, the cluster may not have heard of yet.
func (j *judge) follow(ctx context.Context, client kubernetes.Interface, started podinfo.IPResolver) error {
	factory := informers.NewSharedInformerFactory(client, 0)
	namespaces, pods, policies := factory.Core().V1().Namespaces(), factory.Core().V1().Pods(), factory.Networking().V1().NetworkPolicies()
	resolver, err := podinfo.NewInformerResolver(pods.Informer())
	if err != nil {
		return err
	}
	j.info = podinfo.NewInformerProvider(pods, namespaces, nil, []podinfo.IPResolver{resolver, started})
	j.engine = networkpolicy.NewPolicyEngine(j.info, []api.PolicyEvaluator{networkpolicy.NewStandardNetworkPolicy(j.node, namespaces, pods, policies)})
	factory.Start(ctx.Done())
	for kind, ok := range factory.WaitForCacheSync(ctx.Done()) {
		if !ok {
			return fmt.Errorf("%v are not known", kind)
		}
	}
	return nil
}

// decide lets a packet pass or not.
func (j *judge) decide(ctx context.Context, a nfqueue.Attribute) {
	verdict := nfqueue.NfDrop
	if a.Payload != nil {
		packet, err := network.ParsePacket(*a.Payload)
		if err == nil {
			err = j.allowed(ctx, &packet)
		}
		if err == nil {
			verdict = nfqueue.NfAccept
		} else {
			slog.Info("refused", "protocol", packet.Proto, "from", end(packet.SrcIP, packet.SrcPort), "to", end(packet.DstIP, packet.DstPort), "reason", err)
		}
	}
	if err := j.packets.SetVerdict(*a.PacketID, verdict); err != nil && ctx.Err() == nil {
		slog.Error("verdict", "err", err)
	}
}

// allowed tells why a packet does not pass.
func (j *judge) allowed(ctx context.Context, packet *network.Packet) error {
	if within(j.services, packet.DstIP) {
		return nil // kube-proxy gave it no pod's address: it is of a Service that has none, and gets a refusal from kube-proxy at once
	}
	if within(j.pods, packet.SrcIP) {
		if _, known := j.info.GetPodInfoByIP(packet.SrcIP.String()); !known {
			return errors.New("nobody knows the pod that asks")
		}
	}
	ok, err := j.engine.EvaluatePacket(ctx, packet)
	if err == nil && !ok {
		err = errors.New("no policy allows it")
	}
	return err
}

func within(addresses netip.Prefix, address net.IP) bool {
	ip, ok := netip.AddrFromSlice(address)
	return ok && addresses.Contains(ip.Unmap())
}

func end(address net.IP, port int) string {
	return net.JoinHostPort(address.String(), fmt.Sprint(port))
}
