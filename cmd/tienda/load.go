package main

import (
	"context"
	"errors"
)

type loadCommand struct {
	fillFlags
	Users int    `help:"With --fill: how many customers are registered; a tenth of the orders by default." placeholder:"N"`
	Seed  uint64 `help:"What the random choices follow from." default:"1" placeholder:"N"`
}

// Run fills the shop.
func (c *loadCommand) Run(ctx context.Context, term terminal, environ environment) error {
	if !c.Fill {
		return errors.New("load without --fill is not there yet")
	}
	return c.fill(ctx, c.Users, c.Seed, term, environ)
}
