;; Fits the parameters of four blocks at once, one in each lane. Values stand at address 0, [element][4 blocks]; their quotients by the scale that rounds to
;; nearest, in which all of the search is done, at 4096; scales and zero points come out at 8192 and 8208.
(module
  (memory (export "memory") 1)

  ;; `steps` divides the range, or the largest magnitude where `middle` is not negative: then that is every zero point, and with `signed` the largest element
  ;; takes the integer 0 whatever its sign. NaN and infinity come out in the scale.
  (func (export "fit") (param $count i32) (param $steps f32) (param $middle f32) (param $signed i32) (param $largest f32)
    (local $at i32) (local $end i32) (local $start i32) (local $step i32) (local $penalty f32)
    (local $v v128) (local $low v128) (local $high v128) (local $scale v128) (local $zero v128) (local $most v128) (local $n v128)
    (local $t v128) (local $z v128) (local $level v128) (local $error v128) (local $size v128) (local $target v128) (local $mask v128) (local $floor v128)
    (local $sum v128) (local $least v128) (local $bestT v128) (local $bestZ v128) (local $firstZ v128)
    (local $products v128) (local $squares v128) (local $levels v128) (local $targets v128) (local $spread v128) (local $slope v128) (local $moved v128)
    (local.set $most (f32x4.splat (local.get $largest)))
    (local.set $n (f32x4.convert_i32x4_s (i32x4.splat (local.get $count))))
    (local.set $floor
      (f32x4.mul (local.get $n) (f32x4.mul (f32x4.mul (local.get $most) (local.get $most)) (v128.const f32x4 0x1p-44 0x1p-44 0x1p-44 0x1p-44))))
    (local.set $end (i32.shl (local.get $count) (i32.const 4)))

    (loop $range
      (local.set $v (v128.load (local.get $at)))
      (local.set $low (f32x4.min (local.get $low) (local.get $v)))
      (local.set $high (f32x4.max (local.get $high) (local.get $v)))
      (local.set $at (i32.add (local.get $at) (i32.const 16)))
      (br_if $range (i32.lt_u (local.get $at) (local.get $end))))
    (if (f32.lt (local.get $middle) (f32.const 0))
      (then
        (local.set $scale
          (f32x4.max (v128.const f32x4 0x1p-126 0x1p-126 0x1p-126 0x1p-126)
            (f32x4.div (f32x4.sub (local.get $high) (local.get $low)) (f32x4.splat (local.get $steps)))))
        (local.set $zero (f32x4.min (local.get $most) (f32x4.nearest (f32x4.div (f32x4.neg (local.get $low)) (local.get $scale))))))
      (else
        (local.set $scale
          (f32x4.max (v128.const f32x4 0x1p-126 0x1p-126 0x1p-126 0x1p-126)
            (f32x4.div (f32x4.max (local.get $high) (f32x4.neg (local.get $low))) (f32x4.splat (local.get $steps)))))
        (if (local.get $signed)
          (then
            (local.set $scale
              (v128.bitselect (f32x4.neg (local.get $scale)) (local.get $scale)
                (f32x4.gt (local.get $high) (f32x4.neg (local.get $low)))))))
        (local.set $zero (f32x4.splat (local.get $middle)))))
    (local.set $firstZ (local.get $zero))
    (local.set $bestZ (local.get $zero))
    (local.set $bestT (v128.const f32x4 1 1 1 1))
    (local.set $least (v128.const f32x4 inf inf inf inf))

    (local.set $at (i32.const 0))
    (loop $divide
      (v128.store offset=4096 (local.get $at) (f32x4.div (v128.load (local.get $at)) (local.get $scale)))
      (local.set $at (i32.add (local.get $at) (i32.const 16)))
      (br_if $divide (i32.lt_u (local.get $at) (local.get $end))))

    ;; The search starts from four shares of the full range; what lies outside is clamped.
    (loop $starts
      (local.set $t
        (f32x4.splat
          (select (f32.const 1) (select (f32.const 0.92) (select (f32.const 0.84) (f32.const 0.75) (i32.eq (local.get $start) (i32.const 2)))
            (i32.eq (local.get $start) (i32.const 1))) (i32.eqz (local.get $start)))))
      (local.set $z (local.get $firstZ))
      (local.set $penalty (f32.const 1))
      (local.set $step (i32.const 0))
      (loop $steps
        ;; The squared error of these parameters, and the sums from which the next ones follow.
        (local.set $sum (v128.const f32x4 0 0 0 0))
        (local.set $products (v128.const f32x4 0 0 0 0))
        (local.set $squares (v128.const f32x4 0 0 0 0))
        (local.set $levels (v128.const f32x4 0 0 0 0))
        (local.set $targets (v128.const f32x4 0 0 0 0))
        (local.set $at (i32.const 0))
        (loop $element
          (local.set $target (f32x4.div (v128.load offset=4096 (local.get $at)) (local.get $t)))
          (local.set $level
            (f32x4.sub
              (f32x4.pmin (local.get $most) (f32x4.pmax (v128.const f32x4 0 0 0 0) (f32x4.add (f32x4.nearest (local.get $target)) (local.get $z))))
              (local.get $z)))
          (local.set $error (f32x4.sub (local.get $target) (local.get $level)))
          (local.set $sum (f32x4.add (local.get $sum) (f32x4.mul (local.get $error) (local.get $error))))
          (local.set $size (f32x4.abs (local.get $error)))
          ;; Errors of rounding alone are at most a half, and none of them is given up.
          (local.set $mask (f32x4.gt (local.get $size) (v128.const f32x4 0.5 0.5 0.5 0.5)))
          (if (v128.any_true (local.get $mask))
            (then
              ;; |x| − |x|^(−1/4) / penalty, with the sign of the error.
              (local.set $size
                (f32x4.pmax (v128.const f32x4 0 0 0 0)
                  (f32x4.sub (local.get $size)
                    (f32x4.div (v128.const f32x4 1 1 1 1)
                      (f32x4.mul (f32x4.splat (local.get $penalty)) (f32x4.sqrt (f32x4.sqrt (local.get $size))))))))
              (local.set $size
                (v128.or (v128.and (local.get $size) (local.get $mask))
                  (v128.and (local.get $error) (v128.const i32x4 0x80000000 0x80000000 0x80000000 0x80000000))))
              (local.set $target (f32x4.sub (local.get $target) (local.get $size)))))
          (local.set $products (f32x4.add (local.get $products) (f32x4.mul (local.get $target) (local.get $level))))
          (local.set $squares (f32x4.add (local.get $squares) (f32x4.mul (local.get $level) (local.get $level))))
          (local.set $levels (f32x4.add (local.get $levels) (local.get $level)))
          (local.set $targets (f32x4.add (local.get $targets) (local.get $target)))
          (local.set $at (i32.add (local.get $at) (i32.const 16)))
          (br_if $element (i32.lt_u (local.get $at) (local.get $end))))
        (local.set $sum (f32x4.mul (local.get $sum) (f32x4.mul (local.get $t) (local.get $t))))

        ;; What is no better beyond the rounding of these sums is not taken, so that no block gets worse than rounded to nearest; nor is anything where
        ;; the error left is that of quotients rounded to float32.
        (local.set $mask
          (v128.and
            (f32x4.gt (local.get $least) (local.get $floor))
            (f32x4.lt (local.get $sum) (f32x4.mul (local.get $least) (v128.const f32x4 0.9999 0.9999 0.9999 0.9999)))))
        (local.set $least (v128.bitselect (local.get $sum) (local.get $least) (local.get $mask)))
        (local.set $bestT (v128.bitselect (local.get $t) (local.get $bestT) (local.get $mask)))
        (local.set $bestZ (v128.bitselect (local.get $z) (local.get $bestZ) (local.get $mask)))

        (if (f32.lt (local.get $middle) (f32.const 0))
          (then
            ;; Least squares of target ≈ a · level + b; the line crosses zero at the level −b / a, which moves the zero point.
            (local.set $spread (f32x4.sub (f32x4.mul (local.get $n) (local.get $squares)) (f32x4.mul (local.get $levels) (local.get $levels))))
            (local.set $slope
              (v128.bitselect
                (f32x4.div (local.get $products) (local.get $squares))
                (f32x4.div (f32x4.sub (f32x4.mul (local.get $n) (local.get $products)) (f32x4.mul (local.get $levels) (local.get $targets))) (local.get $spread))
                (f32x4.eq (local.get $spread) (v128.const f32x4 0 0 0 0))))
            (local.set $moved
              (f32x4.pmin (local.get $most)
                (f32x4.pmax (v128.const f32x4 0 0 0 0)
                  (f32x4.nearest
                    (f32x4.sub (local.get $z)
                      (f32x4.div
                        (f32x4.div (f32x4.sub (local.get $targets) (f32x4.mul (local.get $slope) (local.get $levels))) (local.get $n))
                        (local.get $slope)))))))
            ;; With the zero point a whole number again, the scale follows from it: levels are shifted by this much.
            (local.set $slope (f32x4.sub (local.get $z) (local.get $moved)))
            (local.set $products (f32x4.add (local.get $products) (f32x4.mul (local.get $slope) (local.get $targets))))
            (local.set $squares
              (f32x4.add (local.get $squares)
                (f32x4.mul (local.get $slope)
                  (f32x4.add (f32x4.add (local.get $levels) (local.get $levels)) (f32x4.mul (local.get $n) (local.get $slope))))))
            (local.set $z (local.get $moved))))
        ;; Lanes in which nothing is left to fit become NaN here, and no error of theirs is less than another.
        (local.set $t (f32x4.mul (local.get $t) (f32x4.div (local.get $products) (local.get $squares))))

        (local.set $penalty (f32.mul (local.get $penalty) (f32.const 1.3)))
        (local.set $step (i32.add (local.get $step) (i32.const 1)))
        (br_if $steps (i32.lt_u (local.get $step) (i32.const 7))))
      (local.set $start (i32.add (local.get $start) (i32.const 1)))
      (br_if $starts (i32.lt_u (local.get $start) (i32.const 4))))

    (v128.store offset=8192 (i32.const 0) (f32x4.mul (local.get $scale) (local.get $bestT)))
    (v128.store offset=8208 (i32.const 0) (local.get $bestZ))))
