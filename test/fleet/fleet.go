// Package fleet runs a shop in processes of its own, as an operator does: MariaDB, one process for each
// component, two of order-service, all supervised, so that tests can kill what they like.
//
// It uses the program as everybody does, by its command line, its ports and its files; it is given the
// binary to run. Processes end with the one that started them, however that ends.
package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Options say what to run.
type Options struct {
	// Dir is an empty folder for databases, keys, logs and files of faults.
	Dir string
	// Binary is the program. With Faults it is a test build, and each process is given a file of faults.
	Binary string
	Faults bool
	// Set are settings of all components, "key=value".
	Set []string
	// Replicas is how many processes there are of a component, 1 unless it is named.
	Replicas map[string]int
	// Database, if it is set, is a server that is there already, and the beginning of the names of the schemas on it:
	// "jdbc:mysql://127.0.0.1:3306/tienda". It is for [StartOne].
	Database string
	// Ended, if it is set, is told of each end of a process before it is started again.
	Ended func(p *Process, e Exit)
}

// Fleet is a shop that runs.
type Fleet struct {
	options Options
	spawner *spawner
	// MariaDB keeps the databases of all.
	MariaDB *Process
	// Components are the processes of the shop.
	Components []*Process
	// URL is the gateway's.
	URL    string
	mysql  int // port
	ports  *ports
	client *http.Client
}

// contexts are the components and the paths below which they serve.
var contexts = []struct{ name, context string }{
	{"service-discovery", ""}, {"cloud-config", ""}, {"zipkin", ""},
	{"user-service", "/user-service"}, {"product-service", "/product-service"}, {"order-service", "/order-service"},
	{"payment-service", "/payment-service"}, {"shipping-service", "/shipping-service"}, {"favourite-service", "/favourite-service"},
	{"proxy-client", "/app"}, {"api-gateway", ""},
}

// Start runs MariaDB and every component. It does not wait for them; see [Fleet.Open].
func Start(ctx context.Context, options Options) (*Fleet, error) {
	f, err := prepare(options)
	if err != nil {
		return nil, err
	}
	if err := f.startMariaDB(ctx); err != nil {
		f.Stop()
		return nil, err
	}
	address := map[string]int{}
	for _, component := range contexts {
		for i := range max(1, options.Replicas[component.name]) {
			port, err := f.ports.next(ctx)
			if err != nil {
				f.Stop()
				return nil, err
			}
			name := component.name
			if i > 0 {
				name = fmt.Sprintf("%s-%d", name, i+1)
			} else {
				address[component.name] = port
			}
			f.Components = append(f.Components, &Process{Name: name, Component: component.name, Port: port, context: component.context})
		}
	}
	at := func(name, path string) string { return fmt.Sprintf("http://127.0.0.1:%d%s", address[name], path) }
	f.URL = at("api-gateway", "")
	for _, p := range f.Components {
		arguments := []string{
			"run", p.Component, "--demo", "--data", f.data(), "--set", fmt.Sprintf("server.port=%d", p.Port),
			"--set", "spring.config.import=optional:configserver:" + at("cloud-config", ""),
			"--set", "eureka.client.service-url.defaultZone=" + at("service-discovery", "/eureka"),
			"--set", "spring.zipkin.base-url=" + at("zipkin", ""),
		}
		for _, setting := range options.Set {
			arguments = append(arguments, "--set", setting)
		}
		if options.Faults {
			if err := f.SetFaults(p, ""); err != nil {
				f.Stop()
				return nil, err
			}
			arguments = append(arguments, "--faults", f.faultsFile(p))
		}
		p.command = append([]string{options.Binary}, arguments...)
		p.environ = append(plainEnvironment(), "SPRING_DATASOURCE_URL="+f.dataSource(schema(p.Component)), "SPRING_DATASOURCE_USERNAME=root")
		p.logs = filepath.Join(options.Dir, "logs", p.Name)
		p.supervise(ctx, f.spawner, options.Ended)
	}
	return f, nil
}

// StartOne runs the whole shop in one process, over embedded databases unless there is another.
func StartOne(ctx context.Context, options Options) (*Fleet, error) {
	f, err := prepare(options)
	if err != nil {
		return nil, err
	}
	offset, err := f.ports.offset(ctx)
	if err != nil {
		return nil, err
	}
	p := &Process{Name: "up", Component: "service-discovery", Port: 8761 + offset, logs: filepath.Join(options.Dir, "logs", "up"), environ: f.environ()}
	f.Components = []*Process{p}
	f.URL = fmt.Sprintf("http://127.0.0.1:%d", 8080+offset)
	p.command = []string{options.Binary, "up", "--data", f.data(), "--port-offset", strconv.Itoa(offset)}
	for _, setting := range options.Set {
		p.command = append(p.command, "--set", setting)
	}
	if options.Faults {
		if err := f.SetFaults(p, ""); err != nil {
			return nil, err
		}
		p.command = append(p.command, "--faults", f.faultsFile(p))
	}
	p.supervise(ctx, f.spawner, options.Ended)
	return f, nil
}

func prepare(options Options) (*Fleet, error) {
	for _, dir := range []string{"logs", "faults", "data", "tmp"} {
		if err := os.MkdirAll(filepath.Join(options.Dir, dir), 0o700); err != nil {
			return nil, fmt.Errorf("start the shop: %w", err)
		}
	}
	return &Fleet{options: options, spawner: newSpawner(), ports: &ports{map[int]bool{}}, client: &http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{DisableKeepAlives: true}, // a connection that waits would count as somebody's
	}}, nil
}

// plainEnvironment is the environment without what would change the shop.
func plainEnvironment() []string {
	var environ []string
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		switch strings.SplitN(name, "_", 2)[0] {
		case "SPRING", "EUREKA", "TIENDA", "SERVER", "MANAGEMENT", "LOGGING":
			continue
		}
		environ = append(environ, pair)
	}
	return environ
}

// schema is the one of a component's own.
func schema(component string) string {
	return "tienda_" + strings.ReplaceAll(strings.TrimSuffix(component, "-service"), "-", "_")
}

func (f *Fleet) dataSource(schema string) string {
	return fmt.Sprintf("jdbc:mysql://127.0.0.1:%d/%s?createDatabaseIfNotExist=true", f.mysql, schema)
}

func (f *Fleet) data() string { return filepath.Join(f.options.Dir, "data") }

// environ is the environment in which the program's own commands find the databases.
func (f *Fleet) environ() []string {
	switch {
	case f.options.Database != "":
		return append(plainEnvironment(), "SPRING_DATASOURCE_URL="+f.options.Database+"?createDatabaseIfNotExist=true", "SPRING_DATASOURCE_USERNAME=root")
	case f.mysql == 0:
		return plainEnvironment()
	}
	return append(plainEnvironment(), "SPRING_DATASOURCE_URL="+f.dataSource("tienda"), "SPRING_DATASOURCE_USERNAME=root")
}

func (f *Fleet) faultsFile(p *Process) string {
	return filepath.Join(f.options.Dir, "faults", p.Name+".yaml")
}

// SetFaults gives a process another file of faults, which it reads at the next point that it passes.
func (f *Fleet) SetFaults(p *Process, text string) error {
	return WriteFile(f.faultsFile(p), text)
}

// WriteFile replaces a file whole, so that nobody reads half of it.
func WriteFile(path, text string) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}

// Open waits until every component answers, is ready and is registered.
func (f *Fleet) Open(ctx context.Context) error {
	for _, p := range f.Components {
		for {
			err := f.healthy(ctx, p)
			if err == nil {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("%s is not up: %w; its logs are %s.*", p.Name, err, p.logs)
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	return nil
}

// healthy asks a component how it is.
func (f *Fleet) healthy(ctx context.Context, p *Process) error {
	text, err := f.get(ctx, p, p.context+"/actuator/health")
	if err != nil {
		return err
	}
	var health struct {
		Components struct {
			DiscoveryComposite struct {
				Details struct {
					Eureka string `json:"eureka"`
				} `json:"details"`
			} `json:"discoveryComposite"`
		} `json:"components"`
	}
	if err := json.Unmarshal(text, &health); err != nil {
		return err
	}
	if state := health.Components.DiscoveryComposite.Details.Eureka; state != "UP" {
		return fmt.Errorf("registration is %s", state)
	}
	return nil
}

// Stop ends every process, components first. It can be called more than once.
func (f *Fleet) Stop() {
	var group sync.WaitGroup
	for _, p := range f.Components {
		group.Go(p.end)
	}
	group.Wait()
	if f.MariaDB != nil {
		f.MariaDB.end()
	}
	f.spawner.stop()
}

// ports hands out ports that are free and stay so: outside of the range from which the kernel takes
// those of outgoing connections, because a process that is killed must find its port again.
type ports struct{ given map[int]bool }

const (
	firstPort = 20000
	lastPort  = 32000
)

func (p *ports) next(ctx context.Context) (int, error) {
	for tries := range lastPort - firstPort {
		port := firstPort + (rand.IntN(lastPort-firstPort)+tries)%(lastPort-firstPort) // several runs on one machine look elsewhere
		if !p.given[port] && free(ctx, port) {
			p.given[port] = true
			return port, nil
		}
	}
	return 0, errors.New("no free port between 20000 and 32000")
}

// offset is a number that can be added to the ports of all components.
func (p *ports) offset(ctx context.Context) (int, error) {
	for range lastPort - firstPort {
		offset := firstPort - 8080 + rand.IntN(lastPort-firstPort-9411+8080)
		if !slices.ContainsFunc(usual, func(port int) bool { return !free(ctx, port+offset) }) {
			return offset, nil
		}
	}
	return 0, errors.New("no free ports between 20000 and 32000")
}

// usual are the ports of the components without an offset.
var usual = []int{8080, 8300, 8400, 8500, 8600, 8700, 8761, 8800, 8900, 9296, 9411}

func free(ctx context.Context, port int) bool {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	return err == nil && listener.Close() == nil
}
