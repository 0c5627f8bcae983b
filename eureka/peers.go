package eureka

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// How changes reach peers, as the Netflix server has it but for the two that come first: it waits up to 500 ms for a batch
// to fill, and looks for peers every ten minutes, which is long where addresses change with every restart.
const (
	batchDelay      = 50 * time.Millisecond
	peerInterval    = 10 * time.Second
	batchSize       = 250
	maxQueued       = 10_000
	replicationTime = 30 * time.Second // what has not reached a peer by then does not any more
	retryDelay      = 100 * time.Millisecond
	congestionDelay = time.Second
	syncTries       = 5
	syncDelay       = time.Second
)

// Peers pass on to the other nodes of a registry what the clients of this one tell it
// (com.netflix.eureka.cluster.PeerEurekaNodes). Each node takes registrations from whoever asks it, and a client needs to reach any.
type Peers struct {
	server *Server
	urls   []*url.URL
	http   *http.Client
	log    *slog.Logger
	lookup func(ctx context.Context, host string) ([]string, error)

	mu     sync.Mutex
	nodes  map[string]*peer // by URL
	recent []task           // what was told lately, oldest first
	synced bool
}

// NewPeers makes server one of several nodes of a registry, which urls name as clients do, possibly with user:password@.
// Each address of a host name is a node of its own. That the server itself is among them does no harm.
func NewPeers(server *Server, urls []string, h *http.Client, log *slog.Logger) (*Peers, error) {
	p := &Peers{server: server, http: h, log: log,
		lookup: net.DefaultResolver.LookupHost, nodes: make(map[string]*peer)}
	for _, text := range urls {
		u, err := url.Parse(strings.TrimRight(strings.TrimSpace(text), "/"))
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, fmt.Errorf("%q is no address of a registry: want one like http://HOST:8761/eureka", text)
		}
		p.urls = append(p.urls, u)
	}
	server.peers = p
	return p, nil
}

// Synced is an error until Run has asked the peers for what they know, or has found none that answers: clients that ask
// before would take it that there is nothing.
func (p *Peers) Synced(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.synced {
		return errors.New("the registry has not asked its peers yet for what they know")
	}
	return nil
}

// Run copies what the peers know and then passes on what is new, until ctx ends.
func (p *Peers) Run(ctx context.Context) error {
	var senders sync.WaitGroup
	defer senders.Wait()
	p.refresh(ctx, &senders)
	p.sync(ctx, &senders)
	p.mu.Lock()
	p.synced = true
	p.mu.Unlock()
	ticker := time.NewTicker(peerInterval)
	defer ticker.Stop()
	// The others find this node when they look next. What they are told until then they pass on to it no sooner, so it asks them.
	again, found := time.NewTicker(syncDelay), time.Now().Add(2*peerInterval)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			p.refresh(ctx, &senders)
		case now := <-again.C:
			if now.After(found) {
				again.Stop()
			}
			p.learn(ctx)
		}
	}
}

// learn takes over those instances of the peers that this node does not know, and that were not cancelled here lately.
func (p *Peers) learn(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, syncDelay)
	defer cancel()
	for _, n := range p.all() {
		apps, _, err := n.fetch(ctx)
		if err != nil {
			continue // it is gone, or not there yet
		}
		for _, app := range apps.Applications {
			for _, in := range app.Instances {
				in.normalize()
				of := key{strings.ToUpper(app.Name), in.InstanceID}
				if _, known := p.server.registry.instance(of); !known && !p.cancelled(of) && check(&in, of.app) == nil {
					p.server.registry.register(in, true)
				}
			}
		}
	}
}

// cancelled reports whether a client of this node cancelled an instance lately.
func (p *Peers) cancelled(of key) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.recent, func(t task) bool { return t.Action == actionCancel && t.key() == of })
}

// refresh looks for nodes that have come or gone. None has gone because a name could not be looked up; one that has come is told what was
// passed on lately.
func (p *Peers) refresh(ctx context.Context, senders *sync.WaitGroup) {
	found, complete := make(map[string]bool), true
	for _, u := range p.urls {
		nodes, err := p.resolve(ctx, u)
		if err != nil {
			p.log.Info("peers not found", "host", u.Hostname(), "err", err)
			complete = false
		}
		for _, node := range nodes {
			found[node] = true
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for node := range found {
		if p.nodes[node] == nil {
			n := &peer{peers: p, url: node, wake: make(chan struct{}, 1), queue: slices.Clone(p.recent)}
			n.wake <- struct{}{}
			sending, stop := context.WithCancel(ctx)
			n.stop = stop
			p.nodes[node] = n
			senders.Go(func() { n.run(sending) })
		}
	}
	for node, n := range p.nodes {
		if complete && !found[node] {
			n.stop()
			delete(p.nodes, node)
		}
	}
}

// resolve returns the nodes that u stands for. A certificate is made out to a name, so https keeps it.
func (p *Peers) resolve(ctx context.Context, u *url.URL) ([]string, error) {
	if u.Scheme == "https" {
		return []string{u.String()}, nil
	}
	addresses, err := p.lookup(ctx, u.Hostname())
	if err != nil {
		return nil, err
	}
	nodes := make([]string, len(addresses))
	for i, address := range addresses {
		node := *u
		node.Host = address
		if strings.Contains(address, ":") {
			node.Host = "[" + address + "]"
		}
		if port := u.Port(); port != "" {
			node.Host = net.JoinHostPort(address, port)
		}
		nodes[i] = node.String()
	}
	return nodes, nil
}

// sync takes over what the peers know. A node whose peers do not answer is the first of all, or alone.
func (p *Peers) sync(ctx context.Context, senders *sync.WaitGroup) {
	for try := range syncTries {
		if try > 0 {
			if !sleep(ctx, syncDelay) {
				return
			}
			p.refresh(ctx, senders)
		}
		nodes := p.all()
		answered := len(nodes) > 0
		for _, n := range nodes {
			apps, itself, err := n.fetch(ctx)
			if err != nil {
				p.log.Info("peer not copied", "peer", n.name(), "err", err)
				answered = false
			}
			if !itself {
				p.server.registry.adopt(apps)
			}
		}
		if answered {
			return
		}
	}
}

// all are the nodes in order of their URLs.
func (p *Peers) all() []*peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.SortedFunc(maps.Values(p.nodes), func(a, b *peer) int { return strings.Compare(a.url, b.url) })
}

// pass tells the peers of a change that is not one of theirs. Without peers nobody is told.
func (p *Peers) pass(r replica) {
	if p == nil {
		return
	}
	wait := replicationTime
	if r.Instance != nil {
		wait = time.Duration(r.Instance.LeaseInfo.RenewalIntervalInSecs) * time.Second
	}
	t := task{r, time.Now().Add(wait)}
	p.remember(t)
	for _, n := range p.all() {
		n.add(t)
	}
}

// remember keeps a change for nodes that come now and are found later: they may have copied what was known before it. What they miss of a
// heartbeat the next one makes good.
func (p *Peers) remember(t task) {
	if t.Action == actionHeartbeat {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.recent = append(slices.DeleteFunc(p.recent, func(old task) bool { return now.After(old.until) || t.replaces(old) }), t)
	p.recent = p.recent[max(0, len(p.recent)-maxQueued):]
}

// node is a peer for people to look at; URL is without credentials.
type node struct {
	URL       string
	Available bool // it answered when it was last told of something
}

// others are the nodes but this one.
func (p *Peers) others() []node {
	if p == nil {
		return nil
	}
	var others []node
	for _, n := range p.all() {
		n.mu.Lock()
		if !n.itself {
			others = append(others, node{n.name(), !n.failed})
		}
		n.mu.Unlock()
	}
	return others
}

// task is a replica on its way.
type task struct {
	replica
	until time.Time
}

// replaces reports whether an older task is pointless now. Behind a cancellation whatever was before is, and must not outlast it.
func (t *task) replaces(old task) bool {
	return t.App == old.App && t.ID == old.ID && (t.Action == old.Action || t.Action == actionCancel)
}

// peer is one of the nodes (com.netflix.eureka.cluster.PeerEurekaNode).
type peer struct {
	peers *Peers
	url   string
	wake  chan struct{}
	stop  context.CancelFunc

	mu     sync.Mutex
	queue  []task // oldest first
	itself bool   // it is this very node
	failed bool   // when it was last asked
}

// name is the URL without credentials.
func (n *peer) name() string {
	u, err := url.Parse(n.url)
	if err != nil {
		return "" // it was made from one
	}
	u.User = nil
	return u.String()
}

// add puts a task in the place of one that it makes pointless, at the end: what happened in between must stay before it.
func (n *peer) add(t task) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.itself {
		return
	}
	n.queue = append(slices.DeleteFunc(n.queue, t.replaces), t)
	n.queue = n.queue[max(0, len(n.queue)-maxQueued):]
	select {
	case n.wake <- struct{}{}:
	default: // it is awake
	}
}

// take returns the oldest tasks that are still worth sending.
func (n *peer) take() []task {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	n.queue = slices.DeleteFunc(n.queue, func(t task) bool { return now.After(t.until) })
	batch := n.queue[:min(batchSize, len(n.queue))]
	n.queue = slices.Clone(n.queue[len(batch):])
	return batch
}

// back puts tasks that did not arrive in front of those that came meanwhile, which may make them pointless.
func (n *peer) back(batch []task) {
	n.mu.Lock()
	defer n.mu.Unlock()
	batch = slices.DeleteFunc(batch, func(t task) bool {
		return slices.ContainsFunc(n.queue, func(later task) bool { return later.replaces(t) })
	})
	n.queue = append(batch, n.queue...)
}

// run sends tasks until ctx ends.
func (n *peer) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.wake:
		}
		if !sleep(ctx, batchDelay) {
			return
		}
		for batch := n.take(); len(batch) > 0; batch = n.take() {
			err := n.send(ctx, batch)
			n.answered(err)
			if err == nil {
				continue
			}
			delay := retryDelay
			if timeout, ok := errors.AsType[net.Error](err); errors.Is(err, errCongested) || ok && timeout.Timeout() {
				delay = congestionDelay
			}
			if !errors.Is(err, errRefused) {
				n.back(batch)
			}
			if !sleep(ctx, delay) {
				return
			}
		}
	}
}

// answered notes whether the peer is there, and says so when that is news.
func (n *peer) answered(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if failed := err != nil; failed != n.failed {
		n.failed = failed
		if failed {
			n.peers.log.Warn("peer does not take what it is told", "peer", n.name(), "err", err)
		} else {
			n.peers.log.Info("peer is told of changes again", "peer", n.name())
		}
	}
}

var (
	errCongested = errors.New("the peer answered 503 Service Unavailable")
	errRefused   = errors.New("the peer refused it")
)

// send tells the peer of a batch and does what it answers.
func (n *peer) send(ctx context.Context, batch []task) error {
	var body replicas
	for _, t := range batch {
		body.List = append(body.List, t.replica)
	}
	encoded, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	answer, itself, err := n.call(ctx, http.MethodPost, "/peerreplication/batch/", encoded)
	if err != nil || itself {
		return err
	}
	var results replicaResults
	if err := json.Unmarshal(answer, &results); err != nil {
		return fmt.Errorf("%w: its answer is no list of responses: %w", errRefused, err)
	}
	for i, result := range results.List[:min(len(batch), len(results.List))] {
		if batch[i].Action != actionHeartbeat {
			continue
		}
		if result.Instance != nil {
			result.Instance.normalize()
			n.peers.server.registry.register(*result.Instance, true) // what it knows is newer
		} else if result.Status == http.StatusNotFound {
			// It may have been cancelled there, and we are about to hear of it: an instance that is gone is not told of.
			if in, ok := n.peers.server.registry.instance(batch[i].key()); ok {
				n.add(task{registration(in), time.Now().Add(replicationTime)})
			}
		}
	}
	return nil
}

// registration is the replica of an instance that registers.
func registration(in Instance) replica {
	return replica{App: in.App, ID: in.InstanceID, Dirty: dirtyTime(in.LastDirtyTimestamp), Status: in.Status, Instance: &in, Action: actionRegister}
}

// fetch returns what the peer knows.
func (n *peer) fetch(ctx context.Context) (apps Applications, itself bool, err error) {
	body, itself, err := n.call(ctx, http.MethodGet, "/apps/", nil)
	if err != nil || itself {
		return apps, itself, err
	}
	apps, err = decodeApplicationsJSON(body)
	return apps, false, err
}

// call asks the peer, or finds out that it is this node itself.
func (n *peer) call(ctx context.Context, method, path string, body []byte) (answer []byte, itself bool, err error) {
	request, err := http.NewRequestWithContext(ctx, method, n.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, false, err
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "Java-EurekaClient-Replication")
	request.Header.Set("DiscoveryIdentity-Name", "DefaultServer")
	request.Header.Set("DiscoveryIdentity-Version", "1.4")
	request.Header.Set(identityHeader, n.peers.server.id)
	response, err := n.peers.http.Do(request)
	if err != nil {
		return nil, false, err
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(response.Body, maxRegistryLen))
	switch {
	case err != nil:
		return nil, false, fmt.Errorf("read the peer's answer: %w", err)
	case response.StatusCode == http.StatusServiceUnavailable:
		return nil, false, errCongested
	case response.StatusCode != http.StatusOK:
		return nil, false, fmt.Errorf("%w: %s", errRefused, response.Status)
	}
	if response.Header.Get(identityHeader) == n.peers.server.id {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.itself, n.queue = true, nil
		return nil, true, nil
	}
	return answer, false, nil
}

// sleep waits and reports whether ctx lasted longer.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
