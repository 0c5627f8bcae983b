package product

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"tienda/api"
	"tienda/journal"
	"tienda/sqldb"
	"tienda/web"
)

// categorySort are the fields that categories can be sorted by.
var categorySort = map[string]string{"categoryId": "c.category_id", "categoryTitle": "c.title"}

func noCategory(id api.ID) error { return api.NotFound("Category with id: %d not found", id) }

func (s *Service) listCategories(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	page, err := web.ReadPage(r, "c.category_id", categorySort)
	if err != nil {
		return err
	}
	ids, given, err := web.QueryIDs(r, "ids")
	if err != nil {
		return err
	}
	var where string
	var args []any
	if given {
		where, args = " AND "+anyOf("c.category_id", len(ids)), sqldb.Args(ids)
	}
	behind, behindArgs := page.Condition()
	categories, err := sqldb.All(ctx, s.db, scanCategory, "SELECT "+categoryColumns+categoryTables+where+behind+page.Tail(),
		append(args, behindArgs...)...)
	if err != nil {
		return fmt.Errorf("list categories: %w", err)
	}
	total, err := countAll(ctx, s.db, page, len(categories), "SELECT c.category_id FROM categories c WHERE c.deleted_at IS NULL"+where, args)
	if err != nil {
		return fmt.Errorf("count categories: %w", err)
	}
	return web.JSON(w, http.StatusOK, web.Rows(page, categories, total, func(c api.Category) api.ID { return c.CategoryID }))
}

func (s *Service) getCategory(w http.ResponseWriter, r *http.Request) error {
	id, err := web.PathID(r, "categoryId")
	if err != nil {
		return err
	}
	category, err := categoryByID(r.Context(), s.db, id)
	if errors.Is(err, sqldb.ErrNotFound) {
		return noCategory(id)
	}
	if err != nil {
		return fmt.Errorf("read category %d: %w", id, err)
	}
	return web.JSON(w, http.StatusOK, category)
}

// saveCategory updates the category that the body names, or creates one where there is none.
func (s *Service) saveCategory(w http.ResponseWriter, r *http.Request) error {
	sent, err := web.Read[api.Category](w, r)
	if err != nil {
		return err
	}
	return s.putCategory(w, r, sent, true)
}

func (s *Service) updateCategory(w http.ResponseWriter, r *http.Request) error {
	id, err := web.PathID(r, "categoryId")
	if err != nil {
		return err
	}
	sent, err := web.Read[api.Category](w, r)
	if err != nil {
		return err
	}
	sent.CategoryID = id
	return s.putCategory(w, r, sent, false)
}

func (s *Service) putCategory(w http.ResponseWriter, r *http.Request, sent api.Category, mayCreate bool) error {
	if err := sent.Validate(); err != nil {
		return err
	}
	ctx := r.Context()
	var saved api.Category
	var status int
	err := s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		if err := lockTree(ctx, tx); err != nil {
			return err
		}
		stored, err := categoryByID(ctx, tx, sent.CategoryID)
		exists := err == nil
		if err != nil && !errors.Is(err, sqldb.ErrNotFound) {
			return fmt.Errorf("read category %d: %w", sent.CategoryID, err)
		}
		if !exists && !mayCreate {
			return noCategory(sent.CategoryID)
		}
		if err := s.checkParent(ctx, tx, sent, exists); err != nil {
			return err
		}
		id, change := sent.CategoryID, "UPDATED"
		status = http.StatusOK
		if exists {
			set(&stored.CategoryTitle, sent.CategoryTitle)
			set(&stored.ImageURL, sent.ImageURL)
			set(&stored.Parent, sent.Parent)
			err = s.writeCategory(ctx, tx, stored)
		} else {
			change, status = "CREATED", http.StatusCreated
			id, err = s.insertCategory(ctx, tx, sent)
		}
		if err != nil {
			return err
		}
		if saved, err = categoryByID(ctx, tx, id); err != nil {
			return fmt.Errorf("read category %d: %w", id, err)
		}
		return journal.Append(ctx, tx, "category", id, change, saved, s.now())
	})
	if err != nil {
		return err
	}
	if status == http.StatusCreated {
		w.Header().Set("Location", contextPath+"/api/categories/"+saved.CategoryID.String())
	}
	return web.JSON(w, status, saved)
}

// checkParent refuses a parent that does not exist or that is below the category itself. A parent that
// is there without an id stands for the root of the tree.
func (s *Service) checkParent(ctx context.Context, tx *sqldb.Tx, sent api.Category, exists bool) error {
	const field = "parentCategory.categoryId"
	if sent.Parent == nil || sent.Parent.CategoryID == 0 {
		return nil
	}
	parent := sent.Parent.CategoryID
	if err := lockCategory(ctx, tx, parent, field); err != nil {
		return err
	}
	if !exists {
		return nil
	}
	below, err := subtree(ctx, tx, sent.CategoryID)
	if err != nil {
		return err
	}
	if slices.Contains(below, parent) {
		return api.Invalid(api.FieldError{Field: field, Reason: fmt.Sprintf("%d is category %d itself or below it", parent, sent.CategoryID)})
	}
	return nil
}

func (s *Service) insertCategory(ctx context.Context, tx *sqldb.Tx, category api.Category) (api.ID, error) {
	now := sqldb.Instant(s.now())
	id, err := tx.Insert(ctx, `INSERT INTO categories (parent_id, title, image_url, created_at, updated_at) VALUES (?, ?, ?, ?, ?)`,
		parentOf(category), category.CategoryTitle, category.ImageURL, now, now)
	if err != nil {
		return 0, fmt.Errorf("insert category: %w", err)
	}
	return api.ID(id), nil
}

func (s *Service) writeCategory(ctx context.Context, tx *sqldb.Tx, category api.Category) error {
	_, err := tx.Exec(ctx, `UPDATE categories SET parent_id = ?, title = ?, image_url = ?, updated_at = ? WHERE category_id = ?`,
		parentOf(category), category.CategoryTitle, category.ImageURL, sqldb.Instant(s.now()), category.CategoryID)
	if err != nil {
		return fmt.Errorf("update category %d: %w", category.CategoryID, err)
	}
	return nil
}

// parentOf is the link to the parent as it is stored: NULL for none.
func parentOf(category api.Category) any {
	if category.Parent == nil || category.Parent.CategoryID == 0 {
		return nil
	}
	return category.Parent.CategoryID
}

// deleteCategory hides a category, the categories below it and the products of them all.
func (s *Service) deleteCategory(w http.ResponseWriter, r *http.Request) error {
	id, err := web.PathID(r, "categoryId")
	if err != nil {
		return err
	}
	ctx := r.Context()
	err = s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		if err := lockTree(ctx, tx); err != nil {
			return err
		}
		categories, err := subtree(ctx, tx, id)
		if err != nil {
			return err
		}
		if len(categories) == 0 {
			return noCategory(id)
		}
		return s.hideCategories(ctx, tx, categories)
	})
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, true)
}

func (s *Service) hideCategories(ctx context.Context, tx *sqldb.Tx, categories []api.ID) error {
	now := s.now()
	_, err := tx.Exec(ctx, `UPDATE categories SET deleted_at = ? WHERE category_id IN (`+sqldb.In(len(categories))+`)`,
		sqldb.Args(categories, sqldb.Instant(now))...)
	if err != nil {
		return fmt.Errorf("hide categories: %w", err)
	}
	// The categories are locked, so no product joins them any more. Products go one by one in the order
	// of their ids, as everything that locks products does.
	products, err := sqldb.All(ctx, tx, scanID, `SELECT product_id FROM products WHERE deleted_at IS NULL AND category_id IN (`+
		sqldb.In(len(categories))+`) ORDER BY product_id`, sqldb.Args(categories)...)
	if err != nil {
		return fmt.Errorf("products of the categories: %w", err)
	}
	for _, id := range products {
		_, err := tx.Exec(ctx, `UPDATE products SET deleted_at = ?, updated_at = ?, version = version + 1 WHERE product_id = ? AND deleted_at IS NULL`,
			sqldb.Instant(now), sqldb.Instant(now), id)
		if err != nil {
			return fmt.Errorf("hide product %d: %w", id, err)
		}
		if err := journal.Append(ctx, tx, "product", id, "DELETED", nil, now); err != nil {
			return err
		}
	}
	for _, id := range categories {
		if err := journal.Append(ctx, tx, "category", id, "DELETED", nil, now); err != nil {
			return err
		}
	}
	return nil
}
