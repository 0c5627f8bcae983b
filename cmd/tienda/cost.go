package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"tienda/cost"
)

type costCommand struct {
	Environment string   `help:"stage or production; both unless given." enum:",stage,production" default:"" placeholder:"NAME"`
	Plan        []string `help:"File with what terraform show -json prints for a plan; several are one bill." placeholder:"FILE" sep:"none"`
}

// Run prints what an environment costs, or what plans would.
func (c *costCommand) Run(term terminal) error {
	list, err := cost.Prices()
	if err != nil {
		return err
	}
	if stale := list.Stale(time.Now()); stale != "" {
		fmt.Fprintln(term.err, stale)
	}
	if len(c.Plan) > 0 {
		return c.plans(list, term.out)
	}
	all, err := cost.Environments()
	if err != nil {
		return err
	}
	if c.Environment != "" {
		return list.Environment(term.out, c.Environment, all[c.Environment])
	}
	for _, name := range []string{"stage", "production"} {
		if err := list.Environment(term.out, name, all[name]); err != nil {
			return err
		}
		fmt.Fprintln(term.out)
	}
	return list.Together(term.out, all)
}

func (c *costCommand) plans(list *cost.List, out io.Writer) error {
	var readers []io.Reader
	for _, path := range c.Plan {
		file, err := os.Open(path)
		if err != nil {
			return plainPathError(err)
		}
		defer file.Close()
		readers = append(readers, file)
	}
	bill, err := list.ReadPlans(strings.Join(c.Plan, " and "), readers...)
	if err != nil {
		return err
	}
	return list.Write(out, bill)
}
