// Command tienda is the whole shop in one program: "tienda up" runs every component on this machine,
// "tienda run" one or some of them.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"tienda/kit"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ctx.Done()
		stop() // a second Ctrl-C ends the process at once
	}()
	err := Run(ctx, os.Args[1:], os.Environ(), terminal{os.Stdout, os.Stderr})
	if err != nil {
		fmt.Fprintln(os.Stderr, "tienda: "+sentence(err))
		os.Exit(statusOf(err))
	}
}

// exit is an error that ends the process with a status of its own.
type exit struct {
	status int
	error
}

// Unwrap returns what went wrong.
func (e exit) Unwrap() error { return e.error }

// statusUsage is for a command line that says nothing to the program.
const statusUsage = 2

// statusOf is what the process ends with after an error.
func statusOf(err error) int {
	if e, ok := errors.AsType[exit](err); ok {
		return e.status
	}
	return 1
}

// commands are what the program does.
type commands struct {
	Up      upCommand      `cmd:"" help:"Run the whole shop on this machine, with demo data."`
	Run     runCommand     `cmd:"" help:"Run one or some components."`
	Migrate migrateCommand `cmd:"" help:"Bring the databases up to date and exit."`
	Load    loadCommand    `cmd:"" help:"Drive customers through a shop, measure it, and prove what it did with their orders."`
	Audit   auditCommand   `cmd:"" help:"Check the invariants of a shop over its databases, which may be in use."`
	Backup  backupCommand  `cmd:"" help:"Take, ship, list and test backups of a shop's MySQL server."`
	Restore restoreCommand `cmd:"" help:"Bring a server back from a backup and its binary logs."`
	Cost    costCommand    `cmd:"" help:"Print what an environment costs a month at DigitalOcean, or what plans of Terraform would."`

	Administrator administratorCommand `cmd:"" help:"Make a user who has registered an administrator."`

	StateDoctor stateDoctorCommand `cmd:"" help:"Prove that a bucket can hold the lock of a Terraform state, before it does."`

	Version versionCommand `cmd:"" help:"Print the version."`
}

// errHelp ends a run that only printed help.
var errHelp = errors.New("help was asked for")

// Run is the program without its process: args are those behind the program's name. It returns when
// the command is done, or ctx has ended and everything is closed.
func Run(ctx context.Context, args, environ []string, term terminal) (err error) {
	var cli commands
	parser, err := kong.New(&cli, kong.Name("tienda"),
		kong.Description("A complete shop backend: an API gateway, a proxy client, six business services, service discovery, configuration and tracing."),
		kong.Writers(term.out, term.err), kong.UsageOnError(), kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Vars{"components": strings.Join(componentNames(), ", ")},
		kong.Exit(func(int) { panic(errHelp) }))
	if err != nil {
		return err
	}
	defer func() {
		if p := recover(); p != nil {
			if p != errHelp { //nolint:errorlint // it is the very value
				panic(p)
			}
			err = nil
		}
	}()
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return exit{statusUsage, fmt.Errorf("%w (tienda --help shows what there is)", err)}
	}
	parsed.BindTo(ctx, (*context.Context)(nil))
	return parsed.Run(term, environment(environ))
}

// environment is as of os.Environ; a type of its own so that kong can hand it to commands.
type environment []string

// get is the value of a variable, or "".
func (e environment) get(name string) string {
	for _, pair := range e {
		if value, ok := strings.CutPrefix(pair, name+"="); ok {
			return value
		}
	}
	return ""
}

type versionCommand struct{}

// Run prints the version.
func (versionCommand) Run(term terminal) error {
	_, err := fmt.Fprintln(term.out, "tienda", kit.Version())
	return err
}

// sentence makes an error one line for a person.
func sentence(err error) string {
	return strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ")
}
