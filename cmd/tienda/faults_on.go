//go:build faults

package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"tienda/fault"
	"tienda/web"
)

// faultFlags are the flags of a test build.
type faultFlags struct {
	Faults      string      `help:"File that says where this test build fails on purpose; see docs/operations.md." placeholder:"FILE"`
	FaultPoints faultPoints `help:"Print the names of all crash points and exit."`
}

// faultPoints is the flag that prints and exits.
type faultPoints bool

// BeforeApply implements kong's hook.
func (faultPoints) BeforeApply(app *kong.Kong) error {
	_, err := fmt.Fprintln(app.Stdout, strings.Join(known().Points(), "\n"))
	app.Exit(0)
	return err
}

// arm makes the process fail where the file says.
func (f faultFlags) arm(profiles []string) error {
	if f.Faults == "" {
		return nil
	}
	if slices.ContainsFunc(profiles, func(profile string) bool { return strings.TrimSpace(profile) == "production" }) {
		return errors.New("profile production refuses --faults: this build is for tests")
	}
	return fault.Arm(f.Faults, known())
}

// known are the names of the shop that a file of faults may use.
func known() fault.Known {
	k := fault.Known{Components: map[string]string{}}
	for _, row := range services() {
		k.Components[row.Name] = strings.TrimPrefix(row.Context, "/")
	}
	add := func(context string, routes []web.Route) {
		for _, route := range routes {
			k.Routes = append(k.Routes, route.Method+" "+context+route.Pattern)
		}
	}
	for name, routes := range routeTables() {
		add(rowOf(name).Context, routes)
	}
	add("/app", proxyRoutes())
	slices.Sort(k.Routes)
	return k
}
