package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"tienda/load"
)

type loadCommand struct {
	fillFlags

	Target    string        `help:"Gateway of the shop; ${default} unless given." default:"http://localhost:8080" placeholder:"URL"`
	Users     int           `help:"Customers at once, 16 unless given. With --fill: how many are registered, a tenth of the orders unless given." placeholder:"N"`
	Duration  time.Duration `help:"How long they go on; 30s unless checkouts are counted." placeholder:"D" xor:"end"`
	Checkouts int           `help:"How many checkouts they make." placeholder:"N" xor:"end"`
	Mix       string        `help:"What customers do: story, browse, checkout or hostile, and shares in percent that change it, such as story,cancel=20,declined=0; ${default} unless given." default:"story" placeholder:"NAME|k=v,..."`
	Seed      uint64        `help:"What the random choices follow from; ${default} unless given." default:"1" placeholder:"N"`
	JSON      string        `name:"json" help:"Write the result to a file as well." placeholder:"FILE"`
	Verify    bool          `help:"Afterwards prove every order that was answered, before and after sending every key again."`

	Admin             string `help:"Administrator who ships orders and books stock in; the password is in TIENDA_LOAD_ADMIN_PASSWORD." placeholder:"USER"`
	AdminPasswordFile string `help:"File with the administrator's password instead." placeholder:"FILE"`
}

// AfterApply implements kong's hook. It refuses flags of the other half of the command: who asked for a
// run of customers must not get a million orders written instead, nor the other way round.
func (c *loadCommand) AfterApply(given *kong.Context) error {
	for _, part := range given.Path {
		flag := part.Flag
		if flag == nil {
			continue
		}
		ofFill := flag.Group != nil && flag.Group.Key == "fill"
		switch both := flag.Name == "users" || flag.Name == "seed"; {
		case ofFill && !c.Fill:
			return fmt.Errorf("--%s goes together with --fill", flag.Name)
		case c.Fill && !ofFill && !both:
			return fmt.Errorf("--%s does not go together with --fill, which sends no customers", flag.Name)
		case (flag.Name == "users" || flag.Name == "duration" || flag.Name == "checkouts") && flag.Target.IsZero():
			return fmt.Errorf("--%s must not be 0", flag.Name)
		}
	}
	return nil
}

// Run fills the shop, or drives customers through it, prints what it measured, and with --verify what it proved. It fails when
// anything that must hold does not.
func (c *loadCommand) Run(ctx context.Context, term terminal, environ environment) error {
	if c.Fill {
		return c.fill(ctx, c.Users, c.Seed, term, environ)
	}
	options, err := c.options(term, environ)
	if err != nil {
		return exit{statusUsage, err}
	}
	var file *os.File
	if c.JSON != "" {
		if file, err = os.Create(c.JSON); err != nil { // before the run: nobody wants to lose one to a typing error
			return exit{statusUsage, fmt.Errorf("--json: %w", plainPathError(err))}
		}
		defer file.Close()
	}
	result, err := load.Run(ctx, options)
	if err != nil {
		return exit{statusBlind, fmt.Errorf("load: %w", err)}
	}
	if err := result.Print(term.out); err != nil {
		return err
	}
	report := loadReport{Result: result}
	if c.Verify {
		// Ctrl-C ends the run, not the proof; the second one ends the process.
		fmt.Fprintln(term.out)
		found, errVerify := result.Verify(context.WithoutCancel(ctx))
		report.Verification, err = &found, errVerify
		if errPrint := found.Print(term.out); errPrint != nil {
			return errPrint
		}
	}
	if file != nil {
		encoder := json.NewEncoder(file)
		encoder.SetIndent("", "  ")
		if err := errors.Join(encoder.Encode(report), file.Close()); err != nil {
			return fmt.Errorf("--json: %w", err)
		}
	}
	switch {
	case err != nil:
		return exit{statusBlind, fmt.Errorf("load: %w", err)}
	case report.Verification != nil && report.Verification.Violations > 0:
		return exit{statusViolations, fmt.Errorf("load: %d violations", report.Verification.Violations)}
	}
	return nil
}

// loadReport is the file that --json writes.
type loadReport struct {
	*load.Result
	Verification *load.Verification `json:"verification,omitempty"`
}

// options are the flags, looked through.
func (c *loadCommand) options(term terminal, environ environment) (load.Options, error) {
	mix, err := load.ParseMix(c.Mix)
	if err != nil {
		return load.Options{}, fmt.Errorf("--mix: %w", err)
	}
	options := load.Options{Target: c.Target, Users: cmp.Or(c.Users, 16), Duration: c.Duration, Checkouts: c.Checkouts, Mix: mix, Seed: c.Seed,
		Progress: term.err, Rewrite: watched(term.err)}
	if options.Duration == 0 && options.Checkouts == 0 {
		options.Duration = 30 * time.Second
	}
	if c.Admin == "" {
		if c.AdminPasswordFile != "" {
			return options, errors.New("--admin-password-file goes together with --admin USER")
		}
		return options, nil
	}
	options.Admin = load.Credentials{Username: c.Admin, Password: environ.get("TIENDA_LOAD_ADMIN_PASSWORD")}
	if c.AdminPasswordFile != "" {
		text, err := os.ReadFile(c.AdminPasswordFile)
		if err != nil {
			return options, fmt.Errorf("--admin-password-file: %w", plainPathError(err))
		}
		options.Admin.Password = strings.TrimRight(string(text), "\r\n")
	}
	if options.Admin.Password == "" {
		return options, errors.New("the administrator's password is missing: put it into TIENDA_LOAD_ADMIN_PASSWORD, or into a file for --admin-password-file")
	}
	return options, nil
}
