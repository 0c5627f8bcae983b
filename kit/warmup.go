package kit

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Pauses between two tries of a step.
const (
	minPause = 25 * time.Millisecond
	maxPause = time.Second
)

// addWarmUp is Env.WarmUp.
func (m *member) addWarmUp(name string, run func(ctx context.Context) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.warmUps = append(m.warmUps, check{name, run})
}

// warmUp makes the service ready: its own steps come first, so that it can answer whoever finds it in the registry; then it is registered, so that
// those it replaces go only when it can be found. A step that does not succeed for as long as Options.WarmUp is left out: a neighbour that is away
// must not keep this one away as well.
func (m *member) warmUp(ctx context.Context, registers bool) {
	ctx, cancel := context.WithTimeout(ctx, m.opts.WarmUp)
	defer cancel()
	defer m.warm.Store(true)
	m.mu.Lock()
	steps := m.warmUps
	m.mu.Unlock()
	var under sync.WaitGroup
	for _, step := range steps {
		under.Go(func() { m.persist(ctx, step) })
	}
	under.Wait()
	close(m.prepared)
	if registers {
		m.persist(ctx, check{"registration", func(context.Context) error {
			if !m.registry.Registered() {
				return errors.New("the registry has not confirmed it")
			}
			return nil
		}})
	}
}

// persist tries a step until it succeeds or ctx ends.
func (m *member) persist(ctx context.Context, step check) {
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		err := step.run(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				m.log.Warn("ready without a step of warming up, as it takes too long", "step", step.name, "err", err)
			}
			return
		case <-time.After(pause):
		}
	}
}
