package user

import (
	"context"
	"errors"
	"net/http"

	"tienda/api"
	"tienda/auth"
	"tienda/journal"
	"tienda/sqldb"
	"tienda/web"
)

func (s *Service) listUsers(w http.ResponseWriter, r *http.Request) error {
	return users().list(w, r, s.db, "")
}

func (s *Service) getUser(w http.ResponseWriter, r *http.Request) error {
	id, err := web.PathID(r, "userId")
	if err != nil {
		return err
	}
	u, err := users().byID(r.Context(), s.db, id)
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, u)
}

func (s *Service) getUserByUsername(w http.ResponseWriter, r *http.Request) error {
	u, err := users().byUsername(r.Context(), s.db, r.PathValue("username"))
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, u)
}

// postUser registers a user. With the id of an existing one it is a change, for those who may change
// it; registration, which is by nobody in particular, ignores ids.
func (s *Service) postUser(w http.ResponseWriter, r *http.Request) error {
	body, err := web.Read[api.User](w, r)
	if err != nil {
		return err
	}
	caller := auth.CallerOf(r.Context())
	if body.UserID != 0 && caller.Known() {
		exists, err := s.userExists(r.Context(), body.UserID)
		if err != nil {
			return err
		}
		if exists && !caller.SeesAll() && caller.UserID != body.UserID {
			return api.Conflict("the user with id: %d exists and is not yours to change", body.UserID)
		}
		if exists {
			return s.changeUser(w, r, body.UserID, body)
		}
	}
	return s.register(w, r, body)
}

func (s *Service) putUserByID(w http.ResponseWriter, r *http.Request) error {
	id, err := web.PathID(r, "userId")
	if err != nil {
		return err
	}
	body, err := web.Read[api.User](w, r)
	if err != nil {
		return err
	}
	return s.changeUser(w, r, id, body)
}

func (s *Service) userExists(ctx context.Context, id api.ID) (bool, error) {
	var one int
	err := s.db.QueryRow(ctx, `SELECT 1 FROM users WHERE user_id = ? AND deleted_at IS NULL`, int64(id)).Scan(&one)
	if errors.Is(err, sqldb.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// register makes a user. Whoever does it, and whatever the body says, the role is that of a customer,
// unless an administrator gives another.
func (s *Service) register(w http.ResponseWriter, r *http.Request, body api.User) error {
	if err := api.Valid(body.Validate()); err != nil {
		return err
	}
	ctx, now := r.Context(), s.now()
	var change credentialChange
	if body.Credential != nil {
		var err error
		if change, err = s.newCredential(ctx, *body.Credential, "credential.", auth.CallerOf(ctx).Admin()); err != nil {
			return err
		}
	}
	var created api.User
	err := s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		id, err := insertUser(ctx, tx, body, now)
		if err != nil {
			return err
		}
		if body.Credential != nil {
			if err := saveCredential(ctx, tx, id, change, now); err != nil {
				return err
			}
		}
		created, err = users().byID(withAllRows(ctx), tx, id)
		if err != nil {
			return err
		}
		return journal.Append(ctx, tx, "user", id, "CREATED", nil, now)
	})
	if err != nil {
		return taken(err, change)
	}
	w.Header().Set("Location", "/user-service/api/users/"+created.UserID.String())
	return web.JSON(w, http.StatusCreated, created)
}

// withAllRows lifts ownership for reading a row back that the caller has just been allowed to write.
func withAllRows(ctx context.Context) context.Context {
	return auth.WithCaller(ctx, auth.Caller{Service: "user-service"})
}

func (s *Service) changeUser(w http.ResponseWriter, r *http.Request, id api.ID, body api.User) error {
	if err := api.Valid(body.Validate()); err != nil {
		return err
	}
	ctx, now := r.Context(), s.now()
	stored, err := users().byID(ctx, s.db, id)
	if err != nil {
		return err
	}
	var change credentialChange
	if body.Credential != nil {
		if change, err = s.changeOf(ctx, *body.Credential, stored.Credential, "credential."); err != nil {
			return err
		}
	}
	err = s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		found, err := updateUser(ctx, tx, id, body, now)
		if err != nil {
			return err
		}
		if !found {
			return users().notFound(id)
		}
		if body.Credential != nil {
			if err := saveCredential(ctx, tx, id, change, now); err != nil {
				return err
			}
		}
		if stored, err = users().byID(ctx, tx, id); err != nil {
			return err
		}
		return journal.Append(ctx, tx, "user", id, "CHANGED", nil, now)
	})
	if err != nil {
		return taken(err, change)
	}
	return web.JSON(w, http.StatusOK, stored)
}

func (s *Service) deleteUser(w http.ResponseWriter, r *http.Request) error {
	id, err := web.PathID(r, "userId")
	if err != nil {
		return err
	}
	ctx, now := r.Context(), s.now()
	err = s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		if _, err := users().byID(ctx, tx, id); err != nil {
			return err
		}
		found, err := forgetUser(ctx, tx, id, now)
		if err != nil {
			return err
		}
		if !found {
			return users().notFound(id)
		}
		return journal.Append(ctx, tx, "user", id, "DELETED", nil, now)
	})
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, true)
}

func (s *Service) exportUser(w http.ResponseWriter, r *http.Request) error {
	id, err := web.PathID(r, "userId")
	if err != nil {
		return err
	}
	ctx := r.Context()
	var export api.UserExport
	if export.User, err = users().byID(ctx, s.db, id); err != nil {
		return err
	}
	export.Addresses, err = sqldb.All(ctx, s.db, addresses().scan,
		"SELECT "+addresses().columns+" FROM "+fromAddresses+" AND a.user_id = ? ORDER BY a.address_id", int64(id))
	if err != nil {
		return err
	}
	if export.Sessions, err = sessionsOf(ctx, s.db, id); err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, export)
}
