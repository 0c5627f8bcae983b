package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// bucketOfStates is where the environments have their states, as their backends have it.
const bucketOfStates = "ecommerce-terraform-state"

// bootstrap makes what an account has once: buckets, their keys, the domain.
func (e emulation) bootstrap(ctx context.Context) error {
	if err := e.call(ctx, e.out, "bootstrap", "init"); err != nil {
		return err
	}
	if err := e.apply(ctx, "bootstrap"); err != nil {
		return err
	}
	there, err := e.store.BucketExists(bucketOfStates)
	if err == nil && !there {
		err = errors.New("it made no " + bucketOfStates)
	}
	return err
}

// raze destroys what bootstrap made, which must refuse it until somebody takes its protection away and empties the bucket of the states.
func (e emulation) raze(ctx context.Context) error {
	var said bytes.Buffer
	protected := e
	protected.out = io.MultiWriter(e.out, &said)
	switch err := protected.call(ctx, protected.out, "bootstrap", "destroy", "-auto-approve"); {
	case err == nil:
		return errors.New("the buckets of the states and the backups were destroyed, which prevent_destroy should refuse")
	case !strings.Contains(said.String(), "nstance cannot be destroyed"):
		return fmt.Errorf("destroy what is protected: want a refusal by prevent_destroy: %w", err)
	}
	file := filepath.Join(e.folder, "bootstrap/main.tf")
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(text), "prevent_destroy = true", "prevent_destroy = false")), 0o644); err != nil {
		return err
	}
	if err := errors.Join(e.store.ForceDeleteBucket(bucketOfStates), e.store.CreateBucket(bucketOfStates)); err != nil {
		return fmt.Errorf("empty the bucket of the states: %w", err)
	}
	return e.call(ctx, e.out, "bootstrap", "destroy", "-auto-approve")
}
