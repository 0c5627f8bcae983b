package fleet

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Build makes the program of the module in the working directory's repository, with build tags or none.
func Build(ctx context.Context, dir, tags string) (string, error) {
	binary := filepath.Join(dir, "tienda")
	if tags != "" {
		binary += "-" + tags
	}
	command := exec.CommandContext(ctx, "go", "build", "-tags", tags, "-o", binary, "tienda/cmd/tienda")
	command.Env = append(os.Environ(), "CGO_ENABLED=0") // under the race detector too, which needs C itself
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the program: %w: %s", err, out)
	}
	return binary, nil
}
