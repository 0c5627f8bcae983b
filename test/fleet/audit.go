package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
)

// Audited is what `tienda audit` found.
type Audited struct {
	Violations int64       `json:"violations"`
	Invariants []Invariant `json:"invariants"`
}

// Invariant is one thing that must hold, and what was seen of it.
type Invariant struct {
	Name       string   `json:"name"`
	Sentence   string   `json:"sentence"`
	Rows       int64    `json:"rows"`
	Violations int64    `json:"violations"`
	First      []string `json:"first"`
}

// Audit has the books of the shop checked by a program, which need not be the one that runs it. An error
// means that it could not look.
func (f *Fleet) Audit(ctx context.Context, binary string) (Audited, error) {
	command := exec.CommandContext(ctx, binary, "audit", "--json")
	command.Env = f.environ()
	if f.MariaDB == nil {
		command.Args = append(command.Args, "--data", f.data())
	}
	var said bytes.Buffer
	command.Stderr = &said
	text, err := command.Output()
	var result Audited
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == 1 {
		err = nil // it looked, and found something
	}
	if err == nil {
		err = json.Unmarshal(text, &result)
	}
	if err == nil && len(result.Invariants) == 0 {
		err = errors.New("no invariant was looked at")
	}
	if err != nil {
		return result, fmt.Errorf("audit: %w: %s", err, said.String())
	}
	return result, nil
}
