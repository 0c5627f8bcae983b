package gateway

import (
	"container/list"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"tienda/api"
)

// rateLimiterParameters are those of Spring's RequestRateLimiter with its Redis limiter. The key is
// always the principal, else the client's address, so the key resolver is accepted and not used.
func rateLimiterParameters() parameters {
	return parameters{longOnly: true, names: []string{
		"redis-rate-limiter.replenishRate", "redis-rate-limiter.burstCapacity", "redis-rate-limiter.requestedTokens",
		"key-resolver", "deny-empty-key",
	}, required: 1}
}

func requestRateLimiter(b *builder, r *route, a arguments) error {
	replenish, err := a.integer("redis-rate-limiter.replenishRate", 1, 0)
	if err != nil {
		return err
	}
	burst, err := a.integer("redis-rate-limiter.burstCapacity", 1, replenish)
	if err != nil {
		return err
	}
	tokens, err := a.integer("redis-rate-limiter.requestedTokens", 1, 1)
	if err != nil {
		return err
	}
	if tokens > burst {
		return fmt.Errorf("redis-rate-limiter.requestedTokens is %d and burstCapacity %d: no request would ever pass", tokens, burst)
	}
	limiter := b.limiter(r, rateLimit{replenish: replenish, burst: burst, tokens: tokens})
	refused := b.gateway.metrics.rateLimited.WithLabelValues(r.id)
	now := b.gateway.now
	r.onRequest(func(x *Exchange) error {
		remaining, wait := limiter.take(rateKey(x), now())
		x.Reply("X-RateLimit-Remaining", strconv.Itoa(remaining))
		x.Reply("X-RateLimit-Requested-Tokens", strconv.Itoa(tokens))
		x.Reply("X-RateLimit-Burst-Capacity", strconv.Itoa(burst))
		x.Reply("X-RateLimit-Replenish-Rate", strconv.Itoa(replenish))
		if wait > 0 {
			refused.Inc()
			return api.TooManyRequests(wait, "too many requests: wait %v", wait.Round(time.Millisecond))
		}
		return nil
	})
	return nil
}

// rateKey is whom a request counts against. An IPv6 client owns a whole /64.
func rateKey(x *Exchange) string {
	if x.Principal.Subject != "" {
		return "user " + x.Principal.Subject
	}
	address := x.Client
	if address.Is6() {
		address = netip.PrefixFrom(address, 64).Masked().Addr()
	}
	return address.String()
}

type rateLimit struct{ replenish, burst, tokens int }

// rateLimiter holds a token bucket per key, for the most recently seen keys only, so that a flood of
// keys costs bounded memory. It is safe for concurrent use.
type rateLimiter struct {
	rateLimit
	keys int

	mu      sync.Mutex
	buckets map[string]*list.Element // of *bucket
	recent  *list.List               // the most recently used in front
}

type bucket struct {
	key     string
	limiter *rate.Limiter
}

// limiter is that of the previous table when nothing about it has changed.
func (b *builder) limiter(r *route, limit rateLimit) *rateLimiter {
	key := fmt.Sprintf("%s filter %d", r.id, len(r.filters))
	if b.previous != nil {
		if old := b.previous.limiters[key]; old != nil && old.rateLimit == limit {
			b.table.limiters[key] = old
			return old
		}
	}
	limiter := &rateLimiter{
		rateLimit: limit, keys: b.gateway.limits.RateLimitKeys,
		buckets: make(map[string]*list.Element), recent: list.New(),
	}
	b.table.limiters[key] = limiter
	return limiter
}

// take spends the tokens of one request. A wait other than 0 is how long the key must wait for them.
func (l *rateLimiter) take(key string, now time.Time) (remaining int, wait time.Duration) {
	limiter := l.bucket(key)
	allowed := limiter.AllowN(now, l.tokens)
	left := limiter.TokensAt(now)
	if allowed {
		return max(0, int(left)), 0
	}
	missing := (float64(l.tokens) - left) / float64(l.replenish)
	return max(0, int(left)), max(time.Millisecond, time.Duration(math.Ceil(missing*1000))*time.Millisecond)
}

func (l *rateLimiter) bucket(key string) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.buckets[key]; ok {
		l.recent.MoveToFront(e)
		return e.Value.(*bucket).limiter
	}
	if l.recent.Len() >= l.keys {
		oldest := l.recent.Back()
		delete(l.buckets, l.recent.Remove(oldest).(*bucket).key)
	}
	b := &bucket{key, rate.NewLimiter(rate.Limit(l.replenish), l.burst)}
	l.buckets[key] = l.recent.PushFront(b)
	return b.limiter
}
