;; Loops over float32 weights. Channels come as a pattern of 16 or more scales (or maxima) that goes along with the values: `step` is 64
;; where each group of 16 values has its own, 0 where one group serves all. Counts are rounded up to a multiple of 16. Steps are written out,
;; because a call for every four values would take longer than what it does.
(module
  (memory (export "memory") 5)

  ;; largest[i] = max(largest[i], |value[i]|); a NaN stays.
  (func (export "maxima") (param $value i32) (param $largest i32) (param $step i32) (param $count i32)
    (local $end i32)
    (local.set $end (i32.add (local.get $value) (i32.shl (local.get $count) (i32.const 2))))
    (loop $next
      (if (i32.lt_u (local.get $value) (local.get $end))
        (then
          (v128.store (local.get $largest) (f32x4.max (v128.load (local.get $largest)) (f32x4.abs (v128.load (local.get $value)))))
          (v128.store offset=16 (local.get $largest) (f32x4.max (v128.load offset=16 (local.get $largest)) (f32x4.abs (v128.load offset=16 (local.get $value)))))
          (v128.store offset=32 (local.get $largest) (f32x4.max (v128.load offset=32 (local.get $largest)) (f32x4.abs (v128.load offset=32 (local.get $value)))))
          (v128.store offset=48 (local.get $largest) (f32x4.max (v128.load offset=48 (local.get $largest)) (f32x4.abs (v128.load offset=48 (local.get $value)))))
          (local.set $value (i32.add (local.get $value) (i32.const 64)))
          (local.set $largest (i32.add (local.get $largest) (local.get $step)))
          (br $next)))))

  ;; target[i] = round(value[i] / scale[i]), ties to even, clamped to low … high, in 8 bits, its bits flipped by `flip`: 0x80 turns s8 into u8
  ;; around 128.
  (func (export "round") (param $value i32) (param $scale i32) (param $step i32) (param $target i32) (param $count i32)
        (param $low f32) (param $high f32) (param $flip i32)
    (local $end i32) (local $lows v128) (local $highs v128) (local $flips v128)
    (local.set $end (i32.add (local.get $value) (i32.shl (local.get $count) (i32.const 2))))
    (local.set $lows (f32x4.splat (local.get $low)))
    (local.set $highs (f32x4.splat (local.get $high)))
    (local.set $flips (i8x16.splat (local.get $flip)))
    (loop $next
      (if (i32.lt_u (local.get $value) (local.get $end))
        (then
          (v128.store (local.get $target)
            (v128.xor (local.get $flips)
              (i8x16.narrow_i16x8_s
                (i16x8.narrow_i32x4_s
                  (i32x4.trunc_sat_f32x4_s (f32x4.min (local.get $highs) (f32x4.max (local.get $lows) (f32x4.nearest
                    (f32x4.div (v128.load (local.get $value)) (v128.load (local.get $scale)))))))
                  (i32x4.trunc_sat_f32x4_s (f32x4.min (local.get $highs) (f32x4.max (local.get $lows) (f32x4.nearest
                    (f32x4.div (v128.load offset=16 (local.get $value)) (v128.load offset=16 (local.get $scale))))))))
                (i16x8.narrow_i32x4_s
                  (i32x4.trunc_sat_f32x4_s (f32x4.min (local.get $highs) (f32x4.max (local.get $lows) (f32x4.nearest
                    (f32x4.div (v128.load offset=32 (local.get $value)) (v128.load offset=32 (local.get $scale)))))))
                  (i32x4.trunc_sat_f32x4_s (f32x4.min (local.get $highs) (f32x4.max (local.get $lows) (f32x4.nearest
                    (f32x4.div (v128.load offset=48 (local.get $value)) (v128.load offset=48 (local.get $scale)))))))))))
          (local.set $value (i32.add (local.get $value) (i32.const 64)))
          (local.set $scale (i32.add (local.get $scale) (local.get $step)))
          (local.set $target (i32.add (local.get $target) (i32.const 16)))
          (br $next))))))
