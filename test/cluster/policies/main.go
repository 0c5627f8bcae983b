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
	"time"

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

// patience is how long the first packet of a pod waits for the API server to know the pod's address, which a kubelet tells when the pod
// runs already.
const patience = 5 * time.Second

func main() {
	config := flag.String("kubeconfig", "", "how the API server is reached")
	node := flag.String("node", "", "name of the node")
	pods := flag.String("pods", "", "addresses that pods have, such as 10.244.0.0/16")
	queue := flag.Uint("queue", 0, "number of the queue of netfilter that new connections come from")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, *config, *node, *pods, uint16(*queue)); err != nil {
		slog.Error("policies are not enforced, and nothing passes", "err", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, config, node, pods string, queue uint16) error {
	j := judge{}
	var err error
	if j.pods, err = netip.ParsePrefix(pods); err != nil {
		return err
	}
	if err := j.watch(ctx, config, node); err != nil {
		return err
	}
	j.queue, err = nfqueue.Open(&nfqueue.Config{
		NfQueue: queue, Copymode: nfqueue.NfQnlCopyPacket, MaxPacketLen: 128, // the headers
		MaxQueueLen: 4096, Flags: nfqueue.NfQaCfgFlagGSO,
	})
	if err != nil {
		return fmt.Errorf("queue %d: %w", queue, err)
	}
	defer func() { _ = j.queue.Close() }()
	// A full socket costs the packets that did not fit, and no more.
	if err := errors.Join(j.queue.SetOption(netlink.NoENOBUFS, true), j.queue.Con.SetReadBuffer(4<<20)); err != nil {
		return err
	}
	broken := make(chan error, 1)
	err = j.queue.RegisterWithErrorFunc(ctx, func(a nfqueue.Attribute) int { go j.decide(ctx, a); return 0 }, func(err error) int {
		broken <- err
		return 1
	})
	if err != nil {
		return fmt.Errorf("queue %d: %w", queue, err)
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
	pods   netip.Prefix
	info   api.PodInfoProvider
	engine *networkpolicy.PolicyEngine
	queue  *nfqueue.Nfqueue
}

// watch follows pods, namespaces and policies, and returns when all of them are known.
func (j *judge) watch(ctx context.Context, path, node string) error {
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	namespaces, pods, policies := factory.Core().V1().Namespaces(), factory.Core().V1().Pods(), factory.Networking().V1().NetworkPolicies()
	resolver, err := podinfo.NewInformerResolver(pods.Informer())
	if err != nil {
		return err
	}
	j.info = podinfo.NewInformerProvider(pods, namespaces, nil, []podinfo.IPResolver{resolver})
	j.engine = networkpolicy.NewPolicyEngine(j.info, []api.PolicyEvaluator{networkpolicy.NewStandardNetworkPolicy(node, namespaces, pods, policies)})
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
	if err := j.queue.SetVerdict(*a.PacketID, verdict); err != nil && ctx.Err() == nil {
		slog.Error("verdict", "err", err)
	}
}

// errPolicy is the reason of most refusals.
var errPolicy = errors.New("no policy allows it")

// allowed tells why a packet does not pass.
func (j *judge) allowed(ctx context.Context, packet *network.Packet) error {
	for begun := time.Now(); !j.known(packet.SrcIP); {
		if time.Since(begun) > patience {
			return errors.New("nobody knows the pod that asks")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	ok, err := j.engine.EvaluatePacket(ctx, packet)
	if err == nil && !ok {
		err = errPolicy
	}
	return err
}

// known tells whether an address is that of a pod that the API server knows, or of no pod.
func (j *judge) known(address net.IP) bool {
	ip, ok := netip.AddrFromSlice(address)
	if !ok || !j.pods.Contains(ip.Unmap()) {
		return true
	}
	_, found := j.info.GetPodInfoByIP(address.String())
	return found
}

func end(address net.IP, port int) string { return net.JoinHostPort(address.String(), fmt.Sprint(port)) }
