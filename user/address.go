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

func (s *Service) listAddresses(w http.ResponseWriter, r *http.Request) error {
	user, err := web.QueryID(r, "userId")
	if err != nil {
		return err
	}
	if user == 0 {
		return addresses().list(w, r, s.db, "")
	}
	return addresses().list(w, r, s.db, " AND a.user_id = ?", int64(user))
}

func (s *Service) getAddress(w http.ResponseWriter, r *http.Request) error {
	id, err := web.PathID(r, "addressId")
	if err != nil {
		return err
	}
	a, err := addresses().byID(r.Context(), s.db, id)
	if err != nil {
		return err
	}
	return writeAddress(w, http.StatusOK, a)
}

func writeAddress(w http.ResponseWriter, status int, a api.Address) error {
	web.SetETag(w, a.Version)
	return web.JSON(w, status, a)
}

// postAddress adds an address; with the id of an existing one it is a change.
func (s *Service) postAddress(w http.ResponseWriter, r *http.Request) error {
	body, err := web.Read[api.Address](w, r)
	if err != nil {
		return err
	}
	ctx, caller := r.Context(), auth.CallerOf(r.Context())
	if body.AddressID != 0 {
		var owner api.ID
		err := s.db.QueryRow(ctx, `SELECT user_id FROM address WHERE address_id = ?`, int64(body.AddressID)).Scan(&owner)
		switch {
		case errors.Is(err, sqldb.ErrNotFound): // a new one, with a new id
		case err != nil:
			return err
		case !caller.SeesAll() && caller.UserID != owner:
			return api.Conflict("the address with id: %d exists and is not yours to change", body.AddressID)
		default:
			return s.changeAddress(w, r, body.AddressID, body)
		}
	}
	user := caller.UserID // whose address it is when nobody says
	if body.User != nil && body.User.UserID != 0 {
		user = body.User.UserID
	}
	if user == 0 {
		return api.Invalid(api.FieldError{Field: "user.userId", Reason: "must name the user whose address it is"})
	}
	if !caller.SeesAll() && user != caller.UserID {
		return noSuchUser()
	}
	if err := api.Valid(body.Validate()); err != nil {
		return err
	}
	now := s.now()
	var created api.Address
	err = s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		found, err := updateUser(ctx, tx, user, api.User{}, now)
		if err != nil {
			return err
		}
		if !found {
			return noSuchUser()
		}
		id, err := insertAddress(ctx, tx, user, body, now)
		if err != nil {
			return err
		}
		if created, err = addresses().byID(ctx, tx, id); err != nil {
			return err
		}
		return appendAddress(ctx, tx, s, created, "CREATED")
	})
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/user-service/api/address/"+created.AddressID.String())
	return writeAddress(w, http.StatusCreated, created)
}

// appendAddress tells whose address changed, for those who follow users.
func appendAddress(ctx context.Context, tx *sqldb.Tx, s *Service, a api.Address, change string) error {
	return journal.Append(ctx, tx, "address", a.AddressID, change, map[string]api.ID{"userId": a.User.UserID}, s.now())
}

func (s *Service) putAddressByID(w http.ResponseWriter, r *http.Request) error {
	id, err := web.PathID(r, "addressId")
	if err != nil {
		return err
	}
	body, err := web.Read[api.Address](w, r)
	if err != nil {
		return err
	}
	return s.changeAddress(w, r, id, body)
}

func (s *Service) changeAddress(w http.ResponseWriter, r *http.Request, id api.ID, body api.Address) error {
	if err := api.Valid(body.Validate()); err != nil {
		return err
	}
	version := wantedVersion(r)
	ctx, now := r.Context(), s.now()
	var a api.Address
	err := s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		var err error
		if a, err = addresses().byID(ctx, tx, id); err != nil {
			return err
		}
		if body.User != nil && body.User.UserID != 0 && body.User.UserID != a.User.UserID {
			return api.Invalid(api.FieldError{Field: "user.userId", Reason: "cannot change: an address stays with its user"})
		}
		written, err := updateAddress(ctx, tx, id, body, version, now)
		if err != nil {
			return err
		}
		if !written {
			return staleAddress(ctx, tx, id)
		}
		if a, err = addresses().byID(ctx, tx, id); err != nil {
			return err
		}
		return appendAddress(ctx, tx, s, a, "CHANGED")
	})
	if err != nil {
		return err
	}
	return writeAddress(w, http.StatusOK, a)
}

// wantedVersion is the version that a conditional write is for; 0 when the write is not conditional.
func wantedVersion(r *http.Request) int64 {
	version, conditional := web.IfMatch(r)
	if conditional && version == 0 {
		return -1 // no row has version 0
	}
	return version
}

// staleAddress says why a conditional write found nothing to write.
func staleAddress(ctx context.Context, tx *sqldb.Tx, id api.ID) error {
	a, err := addresses().byID(ctx, tx, id)
	if err != nil {
		return err
	}
	return web.Stale(a.Version)
}

func (s *Service) deleteAddress(w http.ResponseWriter, r *http.Request) error {
	id, err := web.PathID(r, "addressId")
	if err != nil {
		return err
	}
	version := wantedVersion(r)
	ctx := r.Context()
	err = s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		a, err := addresses().byID(ctx, tx, id)
		if err != nil {
			return err
		}
		deleted, err := deleteAddress(ctx, tx, id, version)
		if err != nil {
			return err
		}
		if !deleted {
			return staleAddress(ctx, tx, id)
		}
		return appendAddress(ctx, tx, s, a, "DELETED")
	})
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, true)
}
